//! A daemon as a process of its own, to be killed.

#![allow(dead_code, reason = "every test binary that includes this file uses its own part of it")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::bed::{Bed, Client, PATIENCE, tick};

/// A running `atlasd serve`; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts `atlasd serve` on the bed's ledger and waits until it admits work.
    pub async fn start(bed: &Bed) -> Self {
        Self::spawn(bed, log_file(bed), "info").await
    }

    /// The same, telling all that it can tell in `daemon.log`.
    pub async fn start_at_trace(bed: &Bed) -> Self {
        Self::spawn(bed, log_file(bed), "trace").await
    }

    /// The same with a pipe for the log, whose reader has gone once the daemon admits work.
    pub async fn start_with_a_log_that_nobody_reads(bed: &Bed) -> Self {
        let mut process = Self::spawn(bed, Stdio::piped(), "info").await;
        drop(process.child.stderr.take());
        process
    }

    async fn spawn(bed: &Bed, log: Stdio, level: &str) -> Self {
        let address = free_address();
        let child = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .arg("serve")
            .args(["--listen", &address.to_string()])
            .arg("--config")
            .arg(bed.config_path())
            .args(["--database-url", &bed.database.url_text()])
            .env("ATLASD_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program was built for this test");
        let mut process = Self { child, address };
        process.until_ready(bed).await;
        process
    }

    async fn until_ready(&mut self, bed: &Bed) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log =
                    std::fs::read_to_string(bed.directory.path().join("daemon.log")).unwrap_or_default();
                panic!("the daemon ended with {status}:\n{log}");
            }
            if reqwest::get(format!("http://{}/readyz", self.address))
                .await
                .is_ok_and(|ready| ready.status() == 200)
            {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "the daemon did not become ready");
            tick().await;
        }
    }

    pub fn client(&self, bed: &Bed) -> Client {
        bed.client(self.address)
    }

    /// `kill -9`, and the end of the process.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Its instance, as the ledger knows it.
    pub async fn instance(&self, bed: &Bed) -> String {
        let system = self.client(bed).get("/system").await.body;
        system["instance_id"].as_str().unwrap_or_else(|| panic!("it names its instance: {system}")).to_owned()
    }

    /// Waits for the end; the exit code.
    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("the process is ours").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_file(bed: &Bed) -> Stdio {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(bed.directory.path().join("daemon.log"))
        .expect("the directory is writable");
    log.into()
}

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
}
