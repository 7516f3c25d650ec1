//! Sign-in: `POST /{tenant}/oauth2/v2.0/token`, client credentials with a secret or a signed assertion.
//!
//! A token looks like an unsigned JWT with `roles`; it is taken only if it was handed out here, has not expired, and
//! was meant for the host that it is used on.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::SecondsFormat;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::answer::{Answer, Transport};
use super::faults::{self, FaultKind, On, Subject};
use super::state::World;
use crate::clock::Instant;
use crate::domain::policy_types;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Live tokens that are remembered at the most; expired ones are dropped first.
const TOKENS_MAX: usize = 10_000;

/// The tokens that were handed out.
#[derive(Debug, Default)]
pub struct Tokens {
    live: BTreeMap<String, Token>,
}

/// What a token is good for.
#[derive(Clone, Debug)]
pub struct Token {
    /// Whose data it opens.
    pub tenant: Uuid,
    /// The application permissions in it.
    pub roles: Arc<[String]>,
    audience: String,
    expires: Instant,
}

impl Tokens {
    /// The token of an `Authorization` header, if it is good on `base` now.
    ///
    /// # Errors
    /// With the message of the 401.
    pub fn check(
        &self,
        authorization: Option<&str>,
        base: &str,
        now: Instant,
    ) -> Result<&Token, &'static str> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or("Access token is empty.")?;
        let token = self.live.get(token).ok_or("IDX14100: JWT is not well formed.")?;
        if token.audience != base {
            return Err("Access token validation failure. Invalid audience.");
        }
        if token.expires <= now {
            return Err("Lifetime validation failed, the token is expired.");
        }
        Ok(token)
    }

    /// Expires the tokens of a tenant, or all; the number of those that were good until now.
    pub fn expire(&mut self, tenant: Option<Uuid>, now: Instant) -> usize {
        let concerned = self.live.values_mut();
        let good =
            concerned.filter(|token| tenant.is_none_or(|own| own == token.tenant) && token.expires > now);
        good.map(|token| token.expires = now).count()
    }

    /// All that are remembered.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.live.keys().map(String::as_str)
    }

    fn remember(&mut self, text: String, token: Token, now: Instant) {
        if self.live.len() >= TOKENS_MAX {
            self.live.retain(|_, token| token.expires > now);
        }
        self.live.insert(text, token);
    }
}

/// A sign-in request.
#[derive(Debug)]
pub struct SignIn<'a> {
    /// The path's first segment.
    pub tenant: &'a str,
    /// The form, still encoded.
    pub form: &'a str,
    /// `http://host:port` as the client sees it.
    pub base: &'a str,
}

/// Why a sign-in is refused: status, `error`, AADSTS code, text.
struct Refusal(u16, &'static str, u32, String);

/// Answers a sign-in.
pub fn sign_in(world: &mut World, request: &SignIn<'_>) -> Answer {
    let tenant = Uuid::try_parse(request.tenant).unwrap_or_default();
    let subject =
        Subject { tenant, policy_types: Vec::new(), policy_id: None, kind: Some(On::Token), in_batch: false };
    let fault = world.faults.take(&subject);
    world.log.stats.faults_fired += u64::from(fault.is_some());
    if let Some(answer) = fault.as_ref().and_then(|fault| instead(world, request, fault)) {
        return answer;
    }
    let answer = match grant(world, request) {
        Ok(answer) => answer,
        Err(refusal) => refused(world, request, refusal),
    };
    match fault {
        Some(FaultKind::CloseAfter) => answer.by(Transport::Closed),
        Some(FaultKind::SlowBody { millis }) => {
            answer.by(Transport::Slow(std::time::Duration::from_millis(millis)))
        }
        Some(FaultKind::CutJson) => answer.by(Transport::Cut),
        _ => answer,
    }
}

/// The answer of a fault that keeps the sign-in from happening.
fn instead(world: &mut World, request: &SignIn<'_>, fault: &FaultKind) -> Option<Answer> {
    let id = world.config.client_id.clone();
    let with = |answer: Answer, retry_after: &Option<String>| match retry_after {
        Some(value) => answer.header("Retry-After", value.as_str()),
        None => answer,
    };
    Some(match fault {
        // Not JSON: whoever expects JSON does not see the throttle.
        FaultKind::Throttled { retry_after } => {
            with(Answer::text(429, "text/plain", "Too Many Requests"), retry_after)
        }
        FaultKind::Status { status, retry_after } => {
            let text = "The service is temporarily unavailable.".to_owned();
            with(
                refused(world, request, Refusal(*status, "temporarily_unavailable", 90033, text)),
                retry_after,
            )
        }
        FaultKind::SecretExpired => {
            let text = format!("The provided client secret keys for app '{id}' are expired.");
            refused(world, request, Refusal(401, "invalid_client", 7_000_222, text))
        }
        FaultKind::BlockedByPolicy => {
            let text = "Access has been blocked by Conditional Access policies.".to_owned();
            refused(world, request, Refusal(400, "invalid_grant", 53003, text))
        }
        FaultKind::CloseBefore | FaultKind::LostItem => Answer::no_content().by(Transport::Closed),
        FaultKind::TimeoutBefore { millis } => {
            Answer::no_content().by(Transport::Silent(std::time::Duration::from_millis(*millis)))
        }
        FaultKind::HtmlBody => faults::web_page(),
        FaultKind::Redirect { to } => {
            let to = to.clone().unwrap_or_else(|| faults::trap(request.base));
            Answer::text(302, "text/html", "<html><body>moved</body></html>").header("Location", to)
        }
        _ => return None,
    })
}

fn grant(world: &mut World, request: &SignIn<'_>) -> Result<Answer, Refusal> {
    let fields = web::Query::<Vec<(String, String)>>::from_query(request.form).map(web::Query::into_inner);
    let fields: BTreeMap<String, String> = fields.unwrap_or_default().into_iter().collect();
    let field = |name: &str| {
        fields.get(name).map(String::as_str).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refusal(400, "invalid_request", 900_144, text)
        })
    };
    let tenant =
        Uuid::try_parse(request.tenant).ok().and_then(|id| world.tenants.get(&id)).ok_or_else(|| {
            Refusal(400, "invalid_request", 90002, format!("Tenant '{}' not found.", request.tenant))
        })?;
    if field("grant_type")? != "client_credentials" {
        let text = "The grant type is not supported over the /common or /consumers endpoints.".to_owned();
        return Err(Refusal(400, "unsupported_grant_type", 70003, text));
    }
    let client_id = field("client_id")?;
    if client_id != world.config.client_id {
        let name = &tenant.spec.name;
        let text =
            format!("Application with identifier '{client_id}' was not found in the directory '{name}'.");
        return Err(Refusal(400, "unauthorized_client", 700_016, text));
    }
    let scope = field("scope")?;
    let audience = scope.strip_suffix("/.default").ok_or_else(|| {
        let text = format!("The provided value for the input parameter scope '{scope}' is not valid.");
        Refusal(400, "invalid_scope", 1_002_012, text)
    })?;
    let audience = audience.trim_end_matches('/').to_owned();
    match (fields.get("client_secret"), fields.get("client_assertion")) {
        (Some(secret), _) if secret == world.config.client_secret.expose_secret() => {}
        (Some(_), _) => {
            let text = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
                 value, not the client secret ID, for a secret added to app '{client_id}'."
            );
            return Err(Refusal(401, "invalid_client", 7_000_215, text));
        }
        (None, Some(assertion))
            if fields.get("client_assertion_type").is_some_and(|kind| kind == ASSERTION_TYPE) =>
        {
            check_assertion(world, request, assertion)?;
        }
        _ => {
            let text = "The request body must contain the following parameter: 'client_assertion' or \
                        'client_secret'."
                .to_owned();
            return Err(Refusal(401, "invalid_client", 7_000_218, text));
        }
    }
    let roles = tenant.spec.roles.clone().unwrap_or_else(all_roles);
    let tenant = tenant.spec.external_id;
    Ok(issue(world, tenant, audience, roles.into()))
}

/// Every permission that the catalogue asks for, and the one to see groups.
fn all_roles() -> Vec<String> {
    let rows = policy_types::TABLE.iter().flat_map(|row| [row.permission_read, row.permission_write]);
    let mut roles: Vec<String> =
        rows.flatten().map(str::to_owned).chain(["GroupMember.Read.All".to_owned()]).collect();
    roles.sort();
    roles.dedup();
    roles
}

fn issue(world: &mut World, tenant: Uuid, audience: String, roles: Arc<[String]>) -> Answer {
    let now = world.now();
    let expires = now + world.config.token_lifetime;
    let id = world.next_request_id();
    let claims = json!({
        "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "tid": tenant, "idtyp": "app",
        "appid": world.config.client_id, "roles": &*roles, "ver": "1.0", "uti": id,
        "iat": now.to_utc().timestamp(), "nbf": now.to_utc().timestamp(), "exp": expires.to_utc().timestamp(),
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let seal = URL_SAFE_NO_PAD.encode(Sha256::digest(id.as_bytes()));
    let text = format!("{}.{}.{seal}", part(&json!({"typ": "JWT", "alg": "none"})), part(&claims));
    world.tokens.remember(text.clone(), Token { tenant, roles, audience, expires }, now);
    world.log.stats.tokens_issued += 1;
    let lifetime = world.config.token_lifetime.as_secs();
    let body = json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": text,
    });
    Answer::json(200, body).header("Cache-Control", "no-store, no-cache").header("Pragma", "no-cache")
}

/// The claims of an assertion, and its signature when a certificate is configured.
fn check_assertion(world: &World, request: &SignIn<'_>, assertion: &str) -> Result<(), Refusal> {
    let bad = |code: u32, text: &str| Refusal(401, "invalid_client", code, text.to_owned());
    let header = jsonwebtoken::decode_header(assertion)
        .map_err(|_| bad(50027, "JWT token is invalid or malformed."))?;
    let named = header.x5t.is_some() || header.x5t_s256.is_some() || header.kid.is_some();
    if !named {
        return Err(bad(700_027, "The assertion names no certificate (x5t, x5t#S256 or kid)."));
    }
    let expected = world.config.certificate_pem.as_deref().and_then(thumbprint);
    if expected.is_some() && header.x5t_s256.is_some() && header.x5t_s256 != expected {
        return Err(bad(
            700_027,
            "The certificate that signed the assertion is not registered on the application.",
        ));
    }
    let claims = match &world.config.certificate_pem {
        None => claims_without_signature(assertion),
        Some(pem) => verified_claims(pem.as_bytes(), header.alg, assertion),
    };
    let claims = claims.ok_or_else(|| bad(700_027, "Client assertion contains an invalid signature."))?;
    let now = world.now().to_utc().timestamp();
    let time = |name: &str| claims[name].as_i64();
    if time("exp").is_none_or(|exp| exp <= now) || time("nbf").is_some_and(|nbf| nbf > now + 300) {
        return Err(bad(700_024, "Client assertion is not within its valid time range."));
    }
    let id = world.config.client_id.as_str();
    if claims["iss"] != id || claims["sub"] != id || claims["jti"].as_str().is_none_or(str::is_empty) {
        return Err(bad(
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    let (base, tenant) = (request.base, request.tenant);
    let audiences = [format!("{base}/{tenant}/oauth2/v2.0/token"), format!("{base}/{tenant}/v2.0")];
    if !audiences.iter().any(|audience| claims["aud"] == audience.as_str()) {
        return Err(bad(50_013, "Assertion failed audience validation."));
    }
    Ok(())
}

/// The `x5t#S256` of a certificate.
fn thumbprint(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(der)))
}

fn claims_without_signature(assertion: &str) -> Option<Value> {
    let payload = assertion.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn verified_claims(pem: &[u8], algorithm: Algorithm, assertion: &str) -> Option<Value> {
    let key = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => DecodingKey::from_rsa_pem(pem),
        Algorithm::ES256 => DecodingKey::from_ec_pem(pem),
        _ => return None,
    };
    let mut validation = Validation::new(algorithm);
    // The claims are checked by the sandbox's own clock and rules.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(assertion, &key.ok()?, &validation).ok().map(|token| token.claims)
}

fn refused(world: &mut World, request: &SignIn<'_>, Refusal(status, error, code, text): Refusal) -> Answer {
    let trace = world.next_request_id();
    let time = world.now().to_utc().to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ");
    let body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{code}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {trace}\r\nTimestamp: {time}"
        ),
        "error_codes": [code],
        "timestamp": time,
        "trace_id": trace,
        "correlation_id": trace,
        "error_uri": format!("{}/error?code={code}", request.base),
    });
    Answer::json(status, body).header("Cache-Control", "no-store, no-cache").header("Pragma", "no-cache")
}
