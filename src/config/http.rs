//! What the admin endpoint allows.

use serde::Deserialize;

use super::Span;

section!(
    /// The admin endpoint.
    HttpConfig {
        /// Worker threads.
        workers: usize = 2,
        /// The largest body, in bytes.
        body_bytes_max: usize = 1024 * 1024,
        /// The largest file of a snapshot to import, in bytes.
        import_bytes_max: usize = 64 * 1024 * 1024,
        /// Open connections at the most.
        connections_max: usize = 4096,
        /// How long a client may take to send its request's head.
        client_timeout: Span = Span::secs(10),
        /// How long a known token is trusted without a look at the ledger.
        token_cache: Span = Span::secs(5),
        /// How long a session of the web page lasts.
        session_ttl: Span = Span::secs(12 * 60 * 60),
        /// How long a session lasts that is not used.
        session_idle: Span = Span::secs(60 * 60),
        /// Sessions of one token at the same time, at the most; the one that was not used for the longest time makes room.
        sessions_max: usize = 32,
        /// Items of a page when the request does not say.
        page_default: usize = 50,
        /// Items of a page at the most.
        page_max: usize = 500,
    }
);
