//! A daemon as a process of its own, to be killed.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::bed::{Bed, Client, PATIENCE, tick};

/// A running `atlasd serve`; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

/// How a daemon is started, where it matters.
pub struct Launch {
    pub address: SocketAddr,
    pub database_url: String,
    pub environment: Vec<(String, String)>,
    /// Where it appends its log.
    pub log: PathBuf,
}

impl Process {
    /// Starts `atlasd serve` on the bed's ledger and waits until it admits work.
    pub async fn start(bed: &Bed) -> Self {
        Self::spawn(bed, log_file(&log_path(bed)), "info", "text").await
    }

    /// The same, telling all that it can tell in `daemon.log`, as `text` or `json`.
    pub async fn start_at_trace(bed: &Bed, format: &str) -> Self {
        Self::spawn(bed, log_file(&log_path(bed)), "trace", format).await
    }

    /// The same, telling what is of a level in `daemon.log`.
    pub async fn start_at(bed: &Bed, level: &str) -> Self {
        Self::spawn(bed, log_file(&log_path(bed)), level, "text").await
    }

    /// The same with a pipe for the log, whose reader has gone once the daemon admits work.
    pub async fn start_with_a_log_that_nobody_reads(bed: &Bed) -> Self {
        let mut process = Self::spawn(bed, Stdio::piped(), "info", "text").await;
        drop(process.child.stderr.take());
        process
    }

    /// Starts `atlasd serve` as told; it need not come up.
    pub fn launch(bed: &Bed, launch: &Launch) -> Self {
        let mut command = command(bed, launch.address, &launch.database_url);
        command.envs(launch.environment.iter().cloned()).stderr(log_file(&launch.log));
        Self { child: command.spawn().expect("the program was built for this test"), address: launch.address }
    }

    async fn spawn(bed: &Bed, log: Stdio, level: &str, format: &str) -> Self {
        let address = free_address();
        let mut command = command(bed, address, &bed.database.url_text());
        let child = command.env("ATLASD_LOG", level).env("ATLASD_LOG_FORMAT", format).stderr(log).spawn();
        let mut process = Self { child: child.expect("the program was built for this test"), address };
        process.until_ready(bed).await;
        process
    }

    async fn until_ready(&mut self, bed: &Bed) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if let Some(status) = self.ended() {
                let log = std::fs::read_to_string(log_path(bed)).unwrap_or_default();
                panic!("the daemon ended with {status}:\n{log}");
            }
            assert!(tokio::time::Instant::now() < deadline, "the daemon did not become ready");
            tick().await;
        }
    }

    /// Whether it admits work.
    pub async fn is_ready(&self) -> bool {
        let ready = reqwest::get(format!("http://{}/readyz", self.address)).await;
        ready.is_ok_and(|ready| ready.status() == 200)
    }

    /// What the system calls it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is ours")
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

fn command(bed: &Bed, address: SocketAddr, database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atlasd"));
    command.arg("serve").args(["--listen", &address.to_string()]);
    command.arg("--config").arg(bed.config_path()).args(["--database-url", database_url]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn log_path(bed: &Bed) -> PathBuf {
    bed.directory.path().join("daemon.log")
}

fn log_file(path: &Path) -> Stdio {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(path);
    log.expect("the directory is writable").into()
}

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
}
