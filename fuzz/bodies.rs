//! What is fuzzed: everything that reads what somebody else wrote. Each body takes any bytes and asserts what must hold of
//! whatever they turn out to be; that nothing panics goes without saying.
//!
//! `tests/fuzz_bodies.rs` runs the same bodies over the corpus and its mutations, without a fuzzer.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::{CloudConfig, Config, CredentialConfig, Span};
use atlasd::domain::assignment::AssignmentSet;
use atlasd::domain::counts::Counts;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::identity::{self, Inputs, ScopeIds};
use atlasd::domain::operation::{Operation, Scope};
use atlasd::domain::policy_types;
use atlasd::graph::{GraphError, GraphService};
use atlasd::intake::RunRequest;
use atlasd::metrics::Metrics;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A configuration file: refused with a message of one line's worth of sense, or the same each time that it is read.
pub fn configuration(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), data).expect("the file can be written");
    match Config::load(file.path()) {
        Ok(config) => {
            let again = Config::load(file.path()).expect("what was read once is read again");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The inputs of an operation: normalising is done once and for all, and the order of sets makes no difference.
pub fn inputs(data: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<Value>(data) else { return };
    for operation in Operation::ALL {
        let tenant = (operation.scope() == Scope::Tenant).then_some(Uuid::nil());
        let scope = ScopeIds { workspace: "contoso".to_owned(), tenant };
        let Ok(normal) = Inputs::normalise(operation, &raw) else { continue };
        let json = normal.to_json();
        let again = Inputs::normalise(operation, &json).expect("what is normal is accepted");
        assert_eq!(again.to_json(), json);
        assert_eq!(identity::hash(operation, &scope, &again), identity::hash(operation, &scope, &normal));
        let turned = Inputs::normalise(operation, &turned(raw.clone())).expect("a set has no order");
        assert_eq!(turned.to_json(), json);
    }
    let counts = Counts::normalise(&raw);
    let json = serde_json::to_value(&counts).expect("counts are JSON");
    assert_eq!(Counts::normalise(&json), counts);
}

/// The value with its sets the other way round.
fn turned(mut raw: Value) -> Value {
    for name in ["policy_types", "policy_ids"] {
        if let Some(set) = raw.get_mut(name).and_then(Value::as_array_mut) {
            set.reverse();
        }
    }
    raw
}

/// Assignments as Graph answers them: a set that is the same in every order, or malformed; never empty by mistake.
pub fn assignments(data: &[u8]) {
    let Ok(Value::Array(mut items)) = serde_json::from_slice::<Value>(data) else { return };
    for policy_type in policy_types::readable().step_by(5) {
        let Ok(set) = AssignmentSet::from_graph(policy_type, &items) else { continue };
        assert_eq!(set.is_empty(), items.is_empty(), "an item of a list is an assignment or an error");
        items.reverse();
        let turned = AssignmentSet::from_graph(policy_type, &items).expect("a set has no order");
        assert_eq!(turned.hash(), set.hash());
        let stored: AssignmentSet = serde_json::from_slice(&set.canonical()).expect("what is stored is read");
        assert_eq!(stored.hash(), set.hash());
    }
}

/// The body of a request over HTTP, and any text that becomes a message: what was sanitised once stays as it is.
pub fn requests(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<RunRequest>(data) {
        for operation in Operation::ALL.into_iter().filter(|known| known.as_str() == request.operation) {
            let _ = Inputs::normalise(operation, &request.inputs);
        }
    }
    harmless(&Failure::new(Code::InternalUnexpected, &String::from_utf8_lossy(data)));
}

fn harmless(failure: &Failure) {
    let message = failure.message();
    assert!(message.chars().count() <= 200 && !message.contains(['\n', '\r']), "{message}");
    let address = |(at, _)| {
        let beside = [message[..at].chars().next_back(), message[at + 1..].chars().next()];
        beside.into_iter().all(|char| char.is_some_and(|char| char.is_ascii_alphanumeric()))
    };
    assert!(!message.match_indices('@').any(address), "{message}");
    assert_eq!(Failure::new(failure.code, message).message(), message);
}

/// What Graph or its token endpoint answers. The first line says who (`token` or `graph`) and the status, the second is
/// a `Retry-After`, the rest is the body.
pub fn graph_answers(data: &[u8]) {
    static WIRE: LazyLock<Wire> = LazyLock::new(Wire::start);
    WIRE.ask(data);
}

/// A Graph on a loopback port that says what the current input says.
struct Wire {
    runtime: tokio::runtime::Runtime,
    says: Arc<Mutex<Vec<u8>>>,
    url: String,
    one_at_a_time: Mutex<()>,
}

impl Wire {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let says = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let said = says.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, said.clone()));
            }
        });
        Self { runtime, says, url, one_at_a_time: Mutex::new(()) }
    }

    fn ask(&self, data: &[u8]) {
        let _turn = self.one_at_a_time.lock();
        *self.says.lock().expect("nobody panics with the input") = data.to_vec();
        let mut config = Config::default();
        let (login_url, graph_url) = (self.url.clone(), self.url.clone());
        config.clouds.insert("test".to_owned(), CloudConfig { login_url, graph_url });
        let credential = CredentialConfig {
            client_id: "app".to_owned(),
            client_secret_env: Some("PATH".to_owned()),
            client_secret_file: None,
            certificate_file: None,
            private_key_file: None,
        };
        config.credentials.insert("main".to_owned(), credential);
        config.graph.tries_max = 1;
        config.graph.call_timeout = Span(Duration::from_secs(2));
        let service = GraphService::new(&config, Clock::system(), Metrics::new()).expect("a service");
        let client = service.client("test", Uuid::nil(), "main").expect("a client");
        let cancel = CancellationToken::new();
        let read = async {
            let refused = |error: &GraphError| harmless(&error.failure("a policy"));
            let _ = client.get::<Value>("/organization", &cancel).await.inspect_err(refused);
            let paths = ["/a".to_owned(), "/b".to_owned()];
            for result in client.get_batch(&paths, &cancel).await {
                let _ = result.inspect_err(refused);
            }
        };
        // A wait that the answer asks for is not waited for here.
        let _ = self.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(250), read).await });
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, says: Arc<Mutex<Vec<u8>>>) {
    let mut head = [0; 4096];
    let Ok(read) = stream.read(&mut head).await else { return };
    let is_token =
        String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().contains("/token");
    let said = says.lock().expect("nobody panics with the input").clone();
    let mut parts = said.splitn(3, |byte| *byte == b'\n');
    let mut line = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (first, retry_after) = (line(), line());
    let body = parts.next().unwrap_or_default();
    let (who, status) = first.split_once(' ').unwrap_or(("graph", "200"));
    let status = status.trim().parse().ok().filter(|status| (200..=599).contains(status)).unwrap_or(200_u16);
    let visible: String =
        retry_after.chars().filter(|char| char.is_ascii_graphic() || *char == ' ').collect();
    let good = br#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#;
    let (status, body) = if is_token == (who == "token") { (status, body) } else { (200, &good[..]) };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nRetry-After: {visible}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    // The client may have gone.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
}
