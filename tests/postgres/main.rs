//! A daemon and PostgreSQL, with the real programs: a pooler or TLS between them, and what small things cost the server.

#[path = "../support/database.rs"]
mod support;

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/process.rs"]
mod process;

#[expect(dead_code, reason = "of the server that can be struck, the part that stands")]
#[path = "../chaos/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "the server asks it whether we are root")]
#[path = "../chaos/disk.rs"]
mod disk;

mod costs;
mod pooler;
mod tls;

use bed::{Bed, until};
use process::{Launch, Process, free_address};

/// A daemon that reaches the bed's ledger by another URL.
fn launched(bed: &Bed, database_url: &str, log: &str) -> Process {
    let launch = Launch {
        address: free_address(),
        database_url: database_url.to_owned(),
        environment: Vec::new(),
        log: bed.directory.path().join(log),
    };
    Process::launch(bed, &launch)
}

/// The same, once it admits work.
async fn started(bed: &Bed, database_url: &str) -> Process {
    let process = launched(bed, database_url, "daemon.log");
    until("the daemon admits work", || async { process.is_ready().await }).await;
    process
}

/// Why a daemon did not start, in the words of its log.
fn refused(bed: &Bed, database_url: &str) -> String {
    let process = launched(bed, database_url, "refused.log");
    assert_eq!(process.exit_code(), Some(1), "it does not start");
    std::fs::read_to_string(bed.directory.path().join("refused.log")).expect("it says why")
}
