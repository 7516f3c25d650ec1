//! Signing in.

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::domain::failure::Code;
use atlasd::graph::{GraphService, GraphSetupError};
use atlasd::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Reply, Wire, client, refusal, service, token};

fn ok() -> Reply {
    Reply::Json(200, json!({"id": "x"}))
}

async fn wire(sign_in: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Wire {
    Wire::start(move |seen, n| if seen.is_token() { sign_in(n) } else { ok() }).await
}

fn refused(status: u16, number: u64) -> Reply {
    Reply::Json(
        status,
        json!({"error": "invalid_client", "error_codes": [number],
            "error_description": format!("AADSTS{number}: … directory 'Contoso' … admin@contoso.example")}),
    )
}

#[tokio::test]
async fn the_documented_form_is_sent() {
    let wire = wire(token).await;
    wire.client().sign_in(&CancellationToken::new()).await.expect("a token");
    let seen = wire.seen().remove(0);
    assert_eq!(seen.path, "/00000000-0000-0000-0000-000000000000/oauth2/v2.0/token");
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.header("authorization"), None);
    assert!(seen.header("client-request-id").is_some_and(|id| Uuid::try_parse(id).is_ok()));
    let scope = format!("scope={}%2F.default", wire.url.replace(':', "%3A").replace('/', "%2F"));
    for part in ["grant_type=client_credentials", "client_id=app", "client_secret=atlasd", scope.as_str()] {
        assert!(seen.body.split('&').any(|field| field == part), "{part} in {}", seen.body);
    }
}

#[tokio::test]
async fn secrets_go_to_the_login_host_alone_and_tokens_to_the_graph_host_alone() {
    let login = wire(token).await;
    let graph = Wire::start(|_, _| ok()).await;
    let mut config = login.config();
    config.clouds.get_mut("test").expect("the test cloud").graph_url = graph.url.clone();
    client(&config).get::<Value>("/x", &CancellationToken::new()).await.expect("an answer");
    assert_eq!((login.tokens(), login.calls().len()), (1, 0));
    let scope = format!("scope={}%2F.default", graph.url.replace(':', "%3A").replace('/', "%2F"));
    assert!(login.seen()[0].body.contains(&scope), "a token is worth something at its own Graph only");
    assert_eq!((graph.tokens(), graph.calls().len()), (0, 1));
    assert_eq!(graph.calls()[0].header("authorization"), Some("Bearer secret-token-0"));
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_for_the_token_endpoint() {
    use base64::Engine as _;
    let wire = wire(token).await;
    let mut config = wire.config();
    let credential = config.credentials.get_mut("main").expect("the credential");
    credential.client_secret_env = None;
    credential.certificate_file = Some("tests/data/graph/test_only_certificate.pem".into());
    credential.private_key_file = Some("tests/data/graph/test_only_private_key.pem".into());
    client(&config).sign_in(&CancellationToken::new()).await.expect("a token");
    let body = wire.seen().remove(0).body;
    assert!(
        body.contains(
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        )
    );
    assert!(body.contains("client_id=app") && !body.contains("client_secret"));
    let assertion = body.split('&').find_map(|field| field.strip_prefix("client_assertion=")).expect("one");
    let claims = assertion.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], format!("{}/{}/oauth2/v2.0/token", wire.url, Uuid::nil()));
}

#[tokio::test]
async fn many_callers_share_one_sign_in() {
    let wire = wire(token).await;
    let config = wire.config();
    let service = service(&config);
    let cancel = CancellationToken::new();
    let callers = (0..50).map(|_| {
        let client = service.client("test", Uuid::nil(), "main").expect("a client");
        let cancel = cancel.clone();
        async move { client.get::<Value>("/x", &cancel).await }
    });
    let answers = futures_util::future::join_all(callers).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((wire.tokens(), wire.calls().len()), (1, 50));
}

#[tokio::test]
async fn a_refused_sign_in_is_shared_by_those_who_waited_for_it() {
    let wire = wire(|_| refused(401, 7_000_215)).await;
    let client = wire.client();
    let cancel = CancellationToken::new();
    let answers = futures_util::future::join_all((0..50).map(|_| client.sign_in(&cancel))).await;
    for answer in answers {
        let error = answer.expect_err("refused");
        assert_eq!((error.code, error.transient), (Code::GraphAuthFailed, false));
        assert_eq!(error.graph_code.as_deref(), Some("AADSTS7000215"));
        assert!(!format!("{error}{error:?}").contains("ontoso"));
    }
    assert_eq!(wire.tokens(), 1);
    assert!(client.sign_in(&cancel).await.is_err());
    assert_eq!(wire.tokens(), 2, "who comes later asks again");
}

#[tokio::test]
async fn tenants_have_tokens_of_their_own() {
    let wire = wire(token).await;
    let service = service(&wire.config());
    let cancel = CancellationToken::new();
    for n in 0..3 {
        let client = service.client("test", Uuid::from_u128(n), "main").expect("a client");
        client.sign_in(&cancel).await.expect("a token");
    }
    assert_eq!(wire.tokens(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_at_four_fifths_of_its_life() {
    let wire = wire(token).await;
    let clock = Clock::system();
    let service = GraphService::new(&wire.config(), clock.clone(), Metrics::new()).expect("a service");
    let client = service.client("test", Uuid::nil(), "main").expect("a client");
    let cancel = CancellationToken::new();
    for (minutes, tokens) in [(0, 1), (40, 1), (20, 2)] {
        clock.advance(chrono::Duration::minutes(minutes));
        client.sign_in(&cancel).await.expect("a token");
        assert_eq!(wire.tokens(), tokens, "after {minutes} more minutes");
    }
}

#[tokio::test]
async fn a_token_that_still_works_outlives_a_failed_renewal() {
    let wire = wire(|n| if n == 0 { token(0) } else { Reply::Json(503, json!({})) }).await;
    let clock = Clock::system();
    let service = GraphService::new(&wire.config(), clock.clone(), Metrics::new()).expect("a service");
    let client = service.client("test", Uuid::nil(), "main").expect("a client");
    let cancel = CancellationToken::new();
    client.sign_in(&cancel).await.expect("a token");
    clock.advance(chrono::Duration::minutes(55));
    client.sign_in(&cancel).await.expect("the old token");
    clock.advance(chrono::Duration::minutes(10));
    assert_eq!(client.sign_in(&cancel).await.expect_err("expired").code, Code::GraphUnavailable);
}

#[tokio::test]
async fn a_401_in_mid_run_renews_once_and_repeats_once() {
    let wire = Wire::start(|seen, n| match seen.header("authorization") {
        _ if seen.is_token() => token(n),
        Some("Bearer secret-token-0") => Reply::Json(401, refusal(401, "InvalidAuthenticationToken")),
        _ => ok(),
    })
    .await;
    let client = wire.client();
    let cancel = CancellationToken::new();
    let answers = futures_util::future::join_all((0..4).map(|_| client.get::<Value>("/x", &cancel))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(wire.tokens(), 2, "four refused calls share one renewal");
}

#[tokio::test]
async fn a_401_that_stays_is_final() {
    let wire = Wire::start(|seen, n| match seen.is_token() {
        true => token(n),
        false => Reply::Json(401, refusal(401, "InvalidAuthenticationToken")),
    })
    .await;
    let answer = wire.client().get::<Value>("/x", &CancellationToken::new()).await;
    assert_eq!(answer.expect_err("refused").code, Code::GraphAuthFailed);
    assert_eq!((wire.tokens(), wire.calls().len()), (2, 2));
}

#[tokio::test]
async fn a_throttled_sign_in_in_plain_text_is_waited_for() {
    let wire = wire(|n| match n {
        0 => Reply::Raw {
            status: 429,
            headers: vec![("content-type", "text/plain".to_owned()), ("retry-after", "0.1".to_owned())],
            body: "Too Many Requests".to_owned(),
        },
        _ => token(n),
    })
    .await;
    let begun = std::time::Instant::now();
    wire.client().sign_in(&CancellationToken::new()).await.expect("the second try");
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_sign_in_that_answers_html_is_a_protocol_error() {
    let wire =
        wire(|_| Reply::Raw { status: 200, headers: vec![], body: "<html>secret</html>".to_owned() }).await;
    let error = wire.client().sign_in(&CancellationToken::new()).await.expect_err("no token");
    assert_eq!((error.code, error.transient), (Code::GraphProtocol, true));
    assert_eq!(wire.tokens(), 3);
}

#[tokio::test]
async fn a_call_does_not_multiply_the_tries_of_its_sign_in() {
    let wire = wire(|_| Reply::Json(503, json!({}))).await;
    let answer = wire.client().get::<Value>("/x", &CancellationToken::new()).await;
    assert_eq!(answer.expect_err("no token").code, Code::GraphUnavailable);
    assert_eq!((wire.tokens(), wire.calls().len()), (3, 0));
}

#[tokio::test]
async fn one_callers_cancellation_is_no_answer_for_the_others() {
    let wire = wire(|n| if n == 0 { Reply::Stall } else { token(n) }).await;
    let client = wire.client();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (cancelled, signed_in, ()) = tokio::join!(client.sign_in(&first), client.sign_in(&second), async {
        while wire.tokens() == 0 {
            tokio::task::yield_now().await;
        }
        first.cancel();
    });
    assert!(cancelled.expect_err("cancelled").is_cancelled());
    signed_in.expect("a token of its own");
}

#[tokio::test]
async fn what_cannot_be_set_up_is_named() {
    let wire = wire(token).await;
    let mut config = wire.config();
    config.credentials.get_mut("main").expect("the credential").client_secret_env =
        Some("ATLASD_TEST_NO_SUCH_VARIABLE".to_owned());
    let service = service(&config);
    let client = |cloud, credential| service.client(cloud, Uuid::nil(), credential).err();
    assert!(matches!(client("mars", "main"), Some(GraphSetupError::UnknownCloud(name)) if name == "mars"));
    assert!(
        matches!(client("test", "none"), Some(GraphSetupError::UnknownCredential(name)) if name == "none")
    );
    assert!(
        matches!(client("test", "main"), Some(GraphSetupError::Credential { name, .. }) if name == "main")
    );
    config.clouds.get_mut("test").expect("the cloud").graph_url = "http://graph.example".to_owned();
    let refused = GraphService::new(&config, Clock::system(), Metrics::new()).err();
    assert!(matches!(refused, Some(GraphSetupError::Cloud { name, .. }) if name == "test"));
    assert!(wire.seen().is_empty());
}
