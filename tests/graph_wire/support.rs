//! A Graph that says exactly what a test wants, over a real socket: one connection per request, every request logged.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atlasd::clock::Clock;
use atlasd::config::{CloudConfig, Config, CredentialConfig, Span};
use atlasd::graph::{GraphClient, GraphService};
use atlasd::metrics::Metrics;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query, byte for byte.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// When it was read to its end.
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub fn is_token(&self) -> bool {
        self.path.ends_with("/oauth2/v2.0/token")
    }

    /// The reads inside a batch: id and path.
    pub fn batch(&self) -> Vec<(String, String)> {
        let body = self.json();
        let text = |request: &Value, name: &str| request[name].as_str().expect("a text").to_owned();
        let requests = body["requests"].as_array().expect("requests");
        requests.iter().map(|request| (text(request, "id"), text(request, "url"))).collect()
    }
}

/// What to do with a request.
pub enum Reply {
    Json(u16, Value),
    Raw {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The head promises more than comes.
    Cut,
    /// Nothing at all.
    Close,
    /// The head, then silence until the client gives up.
    Stall,
}

/// The server; it ends with the test's runtime.
pub struct Wire {
    pub url: String,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Wire {
    /// Starts one; `answer` gets each request and how many with the same path came before it.
    pub async fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (log.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), answer.clone()));
            }
        });
        Self { url, log }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().expect("no test panics with the log").clone()
    }

    pub fn tokens(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_token()).count()
    }

    pub fn calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| !seen.is_token()).collect()
    }

    /// A configuration with short waits that points here.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        let (login_url, graph_url) = (self.url.clone(), self.url.clone());
        config.clouds.insert("test".to_owned(), CloudConfig { login_url, graph_url });
        let credential = CredentialConfig {
            client_id: "app".to_owned(),
            client_secret_env: Some("CARGO_PKG_NAME".to_owned()),
            client_secret_file: None,
            certificate_file: None,
            private_key_file: None,
        };
        config.credentials.insert("main".to_owned(), credential);
        config.graph.calls_per_20s = 1_000_000;
        config.graph.calls_per_second_global = 1_000_000;
        config.graph.tries_max = 3;
        config.graph.backoff_base = Span(Duration::from_millis(1));
        config.graph.backoff_max = Span(Duration::from_millis(2));
        config.graph.call_timeout = Span(Duration::from_secs(20));
        config
    }

    pub fn client(&self) -> GraphClient {
        client(&self.config())
    }
}

pub fn service(config: &Config) -> GraphService {
    GraphService::new(config, Clock::system(), Metrics::new()).expect("a service")
}

pub fn client(config: &Config) -> GraphClient {
    service(config).client("test", Uuid::nil(), "main").expect("a client")
}

/// A token good for an hour; `n` tells one from the other.
pub fn token(n: usize) -> Reply {
    let token = format!("secret-token-{n}");
    Reply::Json(200, json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))
}

/// An error as Graph's gateway words it.
pub fn refusal(status: u16, code: &str) -> Value {
    json!({"error": {"code": code, "message": format!("{status}: leaked@contoso.example"),
        "innerError": {"date": "2025-01-02T03:04:05", "request-id": "11111111-aaaa-4bbb-8ccc-000000000001"}}})
}

/// A batch's answer with one item per request, last first.
pub fn batch_of(seen: &Seen, item: impl Fn(&str) -> (u16, Value)) -> Reply {
    let items: Vec<Value> = seen
        .batch()
        .iter()
        .rev()
        .map(|(id, path)| {
            let (status, body) = item(path);
            json!({"id": id, "status": status, "headers": {"Content-Type": "application/json"}, "body": body})
        })
        .collect();
    Reply::Json(200, json!({ "responses": items }))
}

/// A page of a list whose count is wrong, as it often is.
pub fn page(ids: &[&str], next: Option<String>) -> Value {
    let items: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    match next {
        Some(next) => json!({"@odata.count": 0, "value": items, "@odata.nextLink": next}),
        None => json!({ "value": items }),
    }
}

/// The ids of items.
pub fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

/// Where a request came from, to build links to the same server.
pub fn origin(seen: &Seen) -> String {
    format!("http://{}", seen.header("host").expect("a host"))
}

/// A 429 with its header.
pub fn throttled(retry_after: &str) -> Reply {
    Reply::Raw {
        status: 429,
        headers: vec![("retry-after", retry_after.to_owned())],
        body: refusal(429, "TooManyRequests").to_string(),
    }
}

/// Answers sign-ins, and everything else with `answer`.
pub async fn graph(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Wire {
    Wire::start(move |seen, n| if seen.is_token() { token(n) } else { answer(seen, n) }).await
}

async fn serve<F>(mut stream: TcpStream, log: Arc<Mutex<Vec<Seen>>>, answer: Arc<F>)
where
    F: Fn(&Seen, usize) -> Reply,
{
    let Some(seen) = read_request(&mut stream).await else { return };
    let before = {
        let mut log = log.lock().expect("no test panics with the log");
        let before = log.iter().filter(|known| known.path == seen.path).count();
        log.push(seen.clone());
        before
    };
    let (status, headers, body) = match answer(&seen, before) {
        Reply::Json(status, body) => {
            (status, vec![("content-type", "application/json".to_owned())], body.to_string())
        }
        Reply::Raw { status, headers, body } => (status, headers, body),
        Reply::Cut => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"value\":[";
            drop(stream.write_all(head.as_bytes()).await);
            return;
        }
        Reply::Close => return,
        Reply::Stall => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await);
            // Until the client hangs up.
            drop(stream.read(&mut [0; 1]).await);
            return;
        }
    };
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if headers.iter().all(|(name, _)| *name != "transfer-encoding") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    drop(stream.write_all(format!("{head}\r\n{body}").as_bytes()).await);
    drop(stream.shutdown().await);
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { method, path, headers, body: String::from_utf8(body).ok()?, at: Instant::now() })
}
