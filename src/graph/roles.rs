//! What a token says about the application's permissions. The token is ours to send, not to verify: its payload is
//! only looked at, to tell an administrator what will be refused before it is.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::client::GraphClient;
use super::error::GraphError;

/// The claims that are looked at.
#[derive(Deserialize)]
struct Claims {
    roles: Option<BTreeSet<String>>,
    /// The application, by the name of version 1 and of version 2.
    appid: Option<serde::de::IgnoredAny>,
    azp: Option<serde::de::IgnoredAny>,
}

impl GraphClient {
    /// The application permissions of the tenant's token, signing in when there is none; `None` when the token does
    /// not show them.
    ///
    /// # Errors
    /// As [`GraphClient::sign_in`].
    pub async fn permissions(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Option<BTreeSet<String>>, GraphError> {
        let bearer = self.bearer(cancel).await?;
        Ok(bearer.header.to_str().ok().and_then(|header| of_token(header.strip_prefix("Bearer ")?)))
    }
}

/// An application without any permission has a token without `roles`: that is known to be none, where the token says
/// that it is an application's.
fn of_token(token: &str) -> Option<BTreeSet<String>> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    let of_an_application = claims.appid.is_some() || claims.azp.is_some();
    claims.roles.or_else(|| of_an_application.then(BTreeSet::new))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(payload: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    #[test]
    fn roles_are_read_from_the_payload() {
        let roles = of_token(&token(&json!({"aud": "x", "roles": ["B.Read.All", "A.Read.All"]})));
        assert_eq!(roles, Some(BTreeSet::from(["A.Read.All".to_owned(), "B.Read.All".to_owned()])));
    }

    #[test]
    fn an_application_without_roles_has_none() {
        for claim in ["appid", "azp"] {
            assert_eq!(of_token(&token(&json!({ claim: "x" }))), Some(BTreeSet::new()));
        }
    }

    #[test]
    fn an_opaque_token_says_nothing() {
        for opaque in [
            String::new(),
            "secret-token-0".to_owned(),
            "a.b.c".to_owned(),
            token(&json!({})),
            token(&json!([])),
            token(&json!({"roles": "A"})),
            token(&json!({"roles": [1]})),
            token(&json!({"roles": ["A"]})).replace("e30.", ""),
        ] {
            assert_eq!(of_token(&opaque), None, "{opaque}");
        }
    }
}
