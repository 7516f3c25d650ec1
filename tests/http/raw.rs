//! A client that sends what no client would: bytes as they are, over a socket of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::TestDaemon;

/// LIMIT: how long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What came back until the daemon closed the connection, or had nothing more to say.
#[derive(Debug)]
pub struct Answer {
    pub text: String,
    /// Whether the daemon closed the connection.
    pub closed: bool,
}

impl Answer {
    /// The status of the first answer; `None` when the connection was closed without one.
    pub fn status(&self) -> Option<u16> {
        self.text.split(' ').nth(1)?.parse().ok()
    }

    /// How many answers came.
    pub fn count(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }

    /// Asserts that it is a refusal: one answer of these, or a closed connection.
    #[track_caller]
    pub fn assert_refused(&self, statuses: &[u16], what: &str) {
        let refused = self.status().map_or(self.closed, |status| statuses.contains(&status));
        assert!(refused && self.count() <= 1, "{what}: {self:?}");
    }
}

/// Connects.
pub fn connect(daemon: &TestDaemon) -> TcpStream {
    let socket = TcpStream::connect(daemon.daemon().address()).expect("the daemon listens");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket has time-outs");
    socket
}

/// Reads until the connection is closed, or until `enough` of what came; at most [`PATIENCE`].
pub fn read(socket: &mut TcpStream, enough: impl Fn(&str) -> bool) -> Answer {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if enough(&text) {
            return Answer { text, closed: false };
        }
        assert!(Instant::now() < deadline, "neither an answer nor an end: {text}");
        match socket.read(&mut part) {
            Ok(0) => return Answer { text, closed: true },
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Answer { text, closed: true },
        }
    }
}

/// Whether the text holds a whole answer whose length is told.
pub fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// Sends bytes and reads the answers to them; a last request asks for the end, so that all answers are seen.
pub fn exchange(daemon: &TestDaemon, bytes: &[u8]) -> Answer {
    let mut socket = connect(daemon);
    // The daemon may refuse before it has read all.
    let _ = socket.write_all(bytes);
    read(&mut socket, is_whole)
}
