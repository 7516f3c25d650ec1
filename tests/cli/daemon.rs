//! A stand-in for the daemon: answers each call with what the test says, and remembers what was asked. The real one is
//! tested elsewhere; here it is the client that is under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::program::Atlasd;

/// The token that [`Daemon::client`] brings.
pub const TOKEN: &str = "atlasd_test";

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Such as `GET /api/v1/runs?status=queued`.
    pub line: String,
    pub authorization: String,
    pub body: Value,
}

/// Serves until the test ends.
pub struct Daemon {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Daemon {
    /// A daemon that answers a call with a status and a body (text that is no JSON is allowed).
    pub fn start(answer: impl Fn(&Call) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let heard = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away before its answer is its own business.
                let _ = serve(&stream, &answer, &heard);
            }
        });
        Self { url, calls }
    }

    /// The program as a client of this daemon.
    pub fn client(&self) -> Atlasd {
        Atlasd::new().with("ATLASD_URL", &self.url).with("ATLASD_TOKEN", TOKEN)
    }

    /// What was asked, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no call panicked").clone()
    }
}

/// One call per connection.
fn serve(
    stream: &TcpStream,
    answer: &impl Fn(&Call) -> (u16, String),
    heard: &Mutex<Vec<Call>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let call = Call { line, authorization, body: serde_json::from_slice(&body).unwrap_or_default() };
    heard.lock().expect("no call panicked").push(call.clone());
    let (status, text) = answer(&call);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Any\r\ncontent-length: {}\r\nconnection: close\r\nlocation: /elsewhere\r\n\r\n{text}",
        text.len()
    )
}
