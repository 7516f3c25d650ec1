//! Traces, as a collector gets them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::program::{Atlasd, shows_a_token};

/// Takes what is sent to `/v1/traces`.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let taken = bodies.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = taken.clone();
                std::thread::spawn(move || serve(&stream, &taken));
            }
        });
        Self { url, bodies }
    }

    fn everything(&self) -> Vec<u8> {
        self.bodies.lock().expect("no export panicked").concat()
    }
}

/// One connection, until it is closed.
fn serve(stream: &TcpStream, taken: &Mutex<Vec<Vec<u8>>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let (mut length, mut protobuf) = (0, false);
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let to_traces = line.starts_with("POST /v1/traces ");
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            protobuf |= header == "content-type: application/x-protobuf";
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if to_traces && protobuf {
            taken.lock().ok()?.push(body);
        }
        let mut writer = stream;
        writer
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
            )
            .ok()?;
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A tour of the demo: it asks for runs, executes them, and calls Graph.
const TOUR: [&str; 4] = ["demo", "--once", "--listen", "127.0.0.1:0"];

#[test]
fn requests_admissions_executions_and_calls_to_graph_reach_the_collector() {
    let collector = Collector::start();
    let program = Atlasd::new()
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .with("OTEL_SERVICE_NAME", "atlasd-of-this-test");
    program.run(TOUR).with_code(0);
    let sent = collector.everything();
    for told in [
        "atlasd-of-this-test",
        "request",
        "/api/v1/runs/{id}",
        "admission",
        "execute assignments.fetch",
        "graph GET",
        "graph POST",
        "run.id",
        "tenant.id",
        "attempt.outcome",
        "http.response.status_code",
    ] {
        assert!(contains(&sent, told), "no span says {told}; {} bytes came", sent.len());
    }
    assert!(!shows_a_token(&String::from_utf8_lossy(&sent)), "a span tells the token of the tour");
    for secret in ["Bearer", "client_secret", "skiptoken"] {
        assert!(!contains(&sent, secret), "a span tells {secret}");
    }
}

#[test]
fn without_a_collector_nothing_is_sent_and_one_that_is_down_costs_a_warning() {
    // Nobody listens on port 1.
    let program = Atlasd::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let began = Instant::now();
    let tour = program.run(TOUR).with_code(0);
    assert!(began.elapsed() < Duration::from_secs(120));
    let warnings = tour.stderr.matches("the collector of traces does not take them").count();
    assert_eq!(warnings, 1, "{}", tour.stderr);
}

#[test]
fn a_collector_that_cannot_be_used_is_refused_by_name() {
    let program = Atlasd::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example");
    program.run(TOUR).failed(2, &["the collector of traces", "https://collector.example"]);
}
