//! Attacks by patience: clients that hold connections and send nothing, or almost nothing. Each is closed in time, and
//! others are served meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use atlasd::config::Span;
use atlasd::store::Role;

use crate::raw::{connect, read};
use crate::support::{Engine, TestDaemon};

/// How long a client may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What closing may take on top, on a busy machine.
const MARGIN: Duration = Duration::from_secs(10);

fn impatient(connections_max: usize) -> TestDaemon {
    TestDaemon::start_with(Engine::Sqlite, |config| {
        config.http.client_timeout = Span(TIMEOUT);
        config.http.connections_max = connections_max;
    })
}

/// Sends a byte now and then until the daemon has had enough; others are served meanwhile.
fn drip(daemon: &TestDaemon, token: &str, begin: &str) -> String {
    let mut socket = connect(daemon);
    socket.write_all(begin.as_bytes()).expect("it is open");
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < TIMEOUT + MARGIN, "the daemon still waits");
        daemon.get("/api/v1/runs", token).assert_status(200);
        let mut text = String::new();
        let mut probe = socket.try_clone().expect("a second handle");
        if ended(&mut probe, &mut text) || socket.write_all(b"a").is_err() {
            return text;
        }
    }
}

/// Whether the daemon has answered or closed; waits a moment for it.
fn ended(socket: &mut TcpStream, text: &mut String) -> bool {
    use std::io::Read;
    let mut part = [0; 1024];
    match socket.read(&mut part) {
        Ok(0) => true,
        Ok(read) => {
            text.push_str(&String::from_utf8_lossy(&part[..read]));
            true
        }
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let daemon = impatient(64);
    let token = daemon.token(Role::Viewer, None);
    for begin in
        ["", "G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "]
    {
        let text = drip(&daemon, &token, begin);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{begin:?}: {text}");
    }
}

#[test]
fn a_body_that_never_ends_is_cut_off() {
    let daemon = impatient(64);
    let token = daemon.token(Role::Admin, None);
    for coding in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let head = format!(
            "POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{coding}\r\n\r\n"
        );
        let text = drip(&daemon, &token, &head);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{coding}: {text}");
    }
    let form = "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n";
    let text = drip(&daemon, &token, form);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
}

#[test]
fn connections_that_do_nothing_give_their_places_back() {
    let daemon = impatient(32);
    let token = daemon.token(Role::Viewer, None);
    let idle: Vec<TcpStream> = (0..64).map(|_| connect(&daemon)).collect();
    // All places are taken; they come free when the idle ones have had their time.
    let began = Instant::now();
    daemon.get("/api/v1/runs", &token).assert_status(200);
    assert!(began.elapsed() < TIMEOUT * 4 + MARGIN, "{:?}", began.elapsed());
    for mut socket in idle {
        assert!(read(&mut socket, |_| false).closed);
    }
}
