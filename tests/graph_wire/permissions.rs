//! What the token shows, and what is not tried because of it.

use std::collections::BTreeSet;

use atlasd::domain::failure::Code;
use atlasd::graph::GraphError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fetch::{asking, run};
use crate::support::{Reply, Wire, token};

/// A Graph whose tokens have this payload; every list is empty.
async fn with_claims(claims: Value) -> Wire {
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    Wire::start(move |seen, _| match seen.is_token() {
        true => {
            let token = format!("e30.{payload}.c2ln");
            Reply::Json(200, json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))
        }
        false => Reply::Json(200, json!({"value": []})),
    })
    .await
}

async fn permissions(wire: &Wire) -> Result<Option<BTreeSet<String>>, GraphError> {
    wire.client().permissions(&CancellationToken::new()).await
}

#[tokio::test]
async fn the_roles_of_the_token_are_shown_with_one_sign_in() {
    let wire = with_claims(json!({"appid": "x", "roles": ["DeviceManagementApps.Read.All"]})).await;
    let roles = permissions(&wire).await.expect("signed in");
    assert_eq!(roles, Some(BTreeSet::from(["DeviceManagementApps.Read.All".to_owned()])));
    assert_eq!((wire.tokens(), wire.calls().len()), (1, 0));
}

#[tokio::test]
async fn an_application_without_consent_has_none_and_an_opaque_token_says_nothing() {
    let wire = with_claims(json!({"appid": "x"})).await;
    assert_eq!(permissions(&wire).await.expect("signed in"), Some(BTreeSet::new()));
    let opaque = Wire::start(|_, n| token(n)).await;
    assert_eq!(permissions(&opaque).await.expect("signed in"), None);
    let refused = Wire::start(|_, _| Reply::Json(401, json!({"error": "invalid_client"}))).await;
    assert_eq!(permissions(&refused).await.expect_err("refused").code, Code::GraphAuthFailed);
}

#[tokio::test]
async fn a_type_that_the_token_may_not_read_is_refused_without_a_call() {
    let wire = with_claims(json!({"roles": ["DeviceManagementApps.ReadWrite.All"]})).await;
    let keys = ["mobileApp", "deviceConfiguration", "windowsUpdateRing", "deviceHealthScript"];
    let fetched = run(&wire.client(), &asking(&keys, &["some-id"])).await;
    let lists: Vec<_> = wire.calls().into_iter().map(|call| call.path).collect();
    assert!(lists.len() == 1 && lists[0].contains("mobileApps"), "{lists:?}");
    assert!(fetched.of("mobileApp").coverage.complete);
    for (key, permission) in [
        ("deviceConfiguration", "DeviceManagementConfiguration.Read.All"),
        ("windowsUpdateRing", "DeviceManagementConfiguration.Read.All"),
        ("deviceHealthScript", "DeviceManagementScripts.Read.All"),
    ] {
        assert_eq!(fetched.codes(key), [Code::GraphPermissionMissing]);
        assert!(!fetched.of(key).coverage.complete);
        let message = fetched.of(key).failures[0].failure.message();
        assert!(message.contains(key) && message.contains(permission), "{message}");
    }
    // What was not listed may hold the policy that was asked for.
    assert!(fetched.end.failures.is_empty());
    let told = fetched.told.last().expect("progress");
    assert_eq!((told.types_done, told.types_total), (4, 4));
}
