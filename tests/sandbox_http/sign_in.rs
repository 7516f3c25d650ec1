//! The token endpoint, and what a token is good for.

use atlasd::sandbox::config::CLIENT_ID;
use atlasd::sandbox::{Fault, FaultKind, On, SandboxConfig};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::client::{Client, Got, sign_in_form};

const FILTERS: &str = "/deviceManagement/assignmentFilters";

fn aadsts(got: &Got) -> u64 {
    got.json()["error_codes"][0].as_u64().unwrap_or_else(|| panic!("no code in {}", got.text))
}

/// The usual form with other values; an empty one leaves the field out.
fn form(client: &Client, changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut form = sign_in_form(&client.sandbox.url());
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name, (*value).to_owned()));
        }
    }
    form
}

#[tokio::test]
async fn refusals_have_entras_shape() {
    let client = Client::single(1).await;
    let cases = [
        (("client_secret", "wrong"), 401, 7_000_215),
        (("client_id", "00000000-0000-4000-8000-000000000000"), 400, 700_016),
        (("client_secret", ""), 401, 7_000_218),
        (("scope", ""), 400, 900_144),
        (("scope", "nothing"), 400, 1_002_012),
        (("grant_type", "password"), 400, 70003),
    ];
    for (change, status, code) in cases {
        let got = client.token(client.tenant, &form(&client, &[change])).await;
        assert_eq!((got.status, aadsts(&got)), (status, code), "{change:?}");
        let description = got.json()["error_description"].as_str().expect("a text").to_owned();
        assert!(
            description.starts_with(&format!("AADSTS{code}: ")) && description.contains("\r\nTrace ID: ")
        );
    }
    let unknown = client.token(uuid!("99999999-9999-4999-8999-999999999999"), &form(&client, &[])).await;
    assert_eq!((unknown.status, aadsts(&unknown)), (400, 90002));
}

#[tokio::test]
async fn faults_of_sign_in_are_seen() {
    let client = Client::single(1).await;
    let cases = [
        (FaultKind::SecretExpired, 401, Some(7_000_222)),
        (FaultKind::BlockedByPolicy, 400, Some(53003)),
        (FaultKind::Status { status: 503, retry_after: Some("2".into()) }, 503, Some(90033)),
        (FaultKind::Throttled { retry_after: Some("60".into()) }, 429, None),
    ];
    for (kind, status, code) in cases {
        client.fault(Fault::new(kind).on(On::Token).times(1));
        let got = client.token(client.tenant, &form(&client, &[])).await;
        assert_eq!(got.status, status);
        match code {
            Some(code) => assert_eq!(aadsts(&got), code),
            None => {
                assert_eq!((got.text.as_str(), got.header("Retry-After")), ("Too Many Requests", Some("60")));
                assert_eq!(got.header("Content-Type"), Some("text/plain"));
            }
        }
        assert_eq!(client.token(client.tenant, &form(&client, &[])).await.status, 200, "once only");
    }
    assert_eq!(client.control().stats().retries_early, 2, "both that named a wait were not waited for");
}

#[tokio::test]
async fn a_token_carries_its_roles_and_ends() {
    let config = SandboxConfig::single(1);
    let clock = config.clock.clone();
    let mut client = Client::start(config).await;
    let payload = client.token.split('.').nth(1).expect("three parts");
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON");
    assert!(claims["roles"].as_array().expect("roles").contains(&json!("DeviceManagementApps.Read.All")));
    assert_eq!(claims["tid"], client.tenant.to_string());
    assert_eq!(client.get(FILTERS).await.status, 200);

    clock.advance(chrono::Duration::hours(1));
    let got = client.get(FILTERS).await;
    assert_eq!((got.status, got.code().as_str()), (401, "InvalidAuthenticationToken"));
    assert!(got.header("WWW-Authenticate").is_some());
    client.sign_in().await;
    assert_eq!(client.get(FILTERS).await.status, 200);

    assert_eq!(client.control().expire_tokens(Some(client.tenant)), 1);
    assert_eq!(client.get(FILTERS).await.status, 401);
    client.sign_in().await;
    client.fault(Fault::new(FaultKind::ExpireTokens).times(1));
    assert_eq!(client.get(FILTERS).await.status, 401);
    assert_eq!(client.get(FILTERS).await.status, 401, "the token itself is spent");
    client.sign_in().await;
    assert_eq!(client.get(FILTERS).await.status, 200);
}

#[tokio::test]
async fn a_foreign_or_missing_token_is_refused() {
    let mut client = Client::single(1).await;
    let other = form(&client, &[("scope", "https://graph.microsoft.com/.default")]);
    let got = client.token(client.tenant, &other).await;
    assert_eq!(got.status, 200);
    for token in [got.json()["access_token"].as_str().expect("a token"), "", "a.b.c"] {
        client.token = token.to_owned();
        assert_eq!(client.get(FILTERS).await.status, 401);
    }
}

#[tokio::test]
async fn a_missing_permission_is_named_in_intunes_own_way() {
    let mut config = SandboxConfig::single(60);
    config.tenants[0].roles = Some(vec!["DeviceManagementApps.Read.All".to_owned()]);
    let client = Client::start(config).await;
    assert_eq!(client.get("/deviceAppManagement/mobileApps").await.status, 200);
    let got = client.get("/deviceManagement/deviceConfigurations").await;
    assert_eq!((got.status, got.code().as_str()), (403, "Forbidden"));
    assert!(got.text.contains("DeviceManagementConfiguration.Read.All"));
    let got = client.get("/groups").await;
    assert_eq!((got.status, got.code().as_str()), (403, "Authorization_RequestDenied"));
    let app = client.get("/deviceAppManagement/mobileApps").await.json()["value"][0]["id"].clone();
    let path = format!("/deviceAppManagement/mobileApps/{}/assign", app.as_str().expect("an id"));
    assert_eq!(
        client.post(&path, &json!({"mobileAppAssignments": []})).await.status,
        403,
        "read is not write"
    );
}

fn assertion(key: &rcgen::KeyPair, thumbprint: &str, changes: Value, base: &str, tenant: Uuid) -> String {
    let now = atlasd::clock::Clock::system().now().to_utc().timestamp();
    let mut claims = json!({
        "aud": format!("{base}/{tenant}/oauth2/v2.0/token"), "iss": CLIENT_ID, "sub": CLIENT_ID,
        "jti": "1", "nbf": now, "exp": now + 300,
    });
    for (name, value) in changes.as_object().expect("changes") {
        claims[name.as_str()] = value.clone();
    }
    let header = jsonwebtoken::Header {
        x5t_s256: Some(thumbprint.to_owned()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
    };
    let key = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("a key");
    jsonwebtoken::encode(&header, &claims, &key).expect("an assertion")
}

#[tokio::test]
async fn an_assertion_must_be_signed_by_the_certificate_and_meant_for_here() {
    use sha2::Digest;
    let rcgen::CertifiedKey { cert, key_pair } =
        rcgen::generate_simple_self_signed(["atlasd".to_owned()]).expect("a certificate");
    let thumbprint = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(cert.der()));
    let other_key = rcgen::KeyPair::generate().expect("a key");
    let mut config = SandboxConfig::single(1);
    config.certificate_pem = Some(cert.pem());
    let client = Client::start(config).await;
    let (base, tenant) = (client.sandbox.url(), client.tenant);
    let cases = [
        (assertion(&key_pair, &thumbprint, json!({}), &base, tenant), None),
        (assertion(&other_key, &thumbprint, json!({}), &base, tenant), Some(700_027)),
        (assertion(&key_pair, "other", json!({}), &base, tenant), Some(700_027)),
        (assertion(&key_pair, &thumbprint, json!({"exp": 1}), &base, tenant), Some(700_024)),
        (assertion(&key_pair, &thumbprint, json!({"iss": "x"}), &base, tenant), Some(700_021)),
        (assertion(&key_pair, &thumbprint, json!({"sub": "x"}), &base, tenant), Some(700_021)),
        (assertion(&key_pair, &thumbprint, json!({"aud": "x"}), &base, tenant), Some(50_013)),
        ("nonsense".to_owned(), Some(50_027)),
    ];
    for (assertion, code) in cases {
        let mut form = form(&client, &[("client_secret", "")]);
        form.push((
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
        ));
        form.push(("client_assertion", assertion));
        let got = client.token(tenant, &form).await;
        match code {
            None => assert_eq!(got.status, 200, "{}", got.text),
            Some(code) => assert_eq!((got.status, aadsts(&got)), (401, code)),
        }
    }
}
