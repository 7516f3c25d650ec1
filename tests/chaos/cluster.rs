//! A PostgreSQL server of the test's own, to be restarted, starved and lied to.
//!
//! Its programs are those in `TEST_POSTGRES_BIN` (`./scripts/test` sets it), or what Debian's and other packages
//! install. PostgreSQL refuses to run as root: then it runs as the user `postgres`, or else `nobody`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::process::free_address;

/// Small, so that a test can use them all up.
pub const CONNECTIONS_MAX: usize = 40;

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Transactions are rolled back, then a checkpoint.
    Fast,
    /// At once, as in a crash: the next start recovers from the log.
    Immediate,
}

/// The server; stopped and removed when dropped. Clones share it.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    bin: PathBuf,
    user: Option<&'static str>,
    /// The data, the log and the socket.
    home: PathBuf,
    address: SocketAddr,
    environment: Vec<(String, String)>,
    /// Removed after the server has been stopped.
    _directory: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Makes and starts a server: in `volume`, else in a directory of its own; with `environment` for its processes.
    pub fn start(volume: Option<&Path>, environment: Vec<(String, String)>) -> Self {
        let user = (!crate::disk::is_user()).then(server_user);
        let directory = volume.is_none().then(|| {
            tempfile::Builder::new().prefix("atlasd-chaos").tempdir().expect("a temporary directory")
        });
        let home = match (&directory, volume) {
            (Some(directory), _) => directory.path().to_owned(),
            (None, Some(volume)) => volume.to_owned(),
            (None, None) => unreachable!("a directory is made where no volume is given"),
        };
        if let Some(user) = user {
            run(Command::new("chown").arg(user).arg(&home), "giving the server its directory");
        }
        let inner = Inner {
            bin: programs(),
            user,
            home,
            address: free_address(),
            environment,
            _directory: directory,
        };
        let cluster = Self(Arc::new(inner));
        run(
            cluster.0.program("initdb").args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                // Small segments: a small disk has to hold some.
                "--wal-segsize=1",
            ]),
            "initdb",
        );
        assert!(cluster.0.try_up(), "the server starts: {}", cluster.log());
        cluster
    }

    /// The server's URL, with its database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.0.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.0.home.join("log")).unwrap_or_default()
    }

    /// Stops it, and starts it again.
    pub async fn restart(&self, how: Stop) {
        let inner = self.0.clone();
        let up = tokio::task::spawn_blocking(move || {
            inner.stop(how);
            inner.try_up()
        });
        assert!(up.await.expect("pg_ctl ran"), "the server starts again: {}", self.log());
    }

    /// Starts it where it has ended by itself (a full disk); whether it runs now.
    pub async fn revive(&self) -> bool {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || inner.runs() || inner.try_up()).await.expect("pg_ctl ran")
    }

    /// A connection beside those of the daemons; `None` where the server takes none.
    pub async fn connect(&self) -> Option<Client> {
        let url = format!("{}?connect_timeout=2&application_name=chaos", self.url());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// Ends every connection of a daemon; `None` where the server does not answer.
    pub async fn terminate_backends(&self, by: &Client) -> Option<()> {
        let text =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'atlasd%'";
        let terminated = tokio::time::timeout(Duration::from_secs(2), by.simple_query(text)).await;
        terminated.ok()?.ok().map(drop)
    }
}

impl Inner {
    /// One of PostgreSQL's programs on this server's data, without the caller's PG* settings.
    fn program(&self, name: &str) -> Command {
        let mut command = match self.user {
            None => Command::new("env"),
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--", "env"]);
                command
            }
        };
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE", "PGOPTIONS"] {
            command.args(["-u", name]);
        }
        for (name, value) in &self.environment {
            command.arg(format!("{name}={value}"));
        }
        command.arg(self.bin.join(name)).arg("--pgdata").arg(self.home.join("data")).current_dir("/");
        command
    }

    /// Whether the server has come up; where a disk is full, it may not.
    fn try_up(&self) -> bool {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections={CONNECTIONS_MAX} \
             -c shared_buffers=16MB -c max_wal_size=16MB -c min_wal_size=2MB -c wal_level=minimal -c max_wal_senders=0",
            self.address.port(),
            self.home.display()
        );
        let mut command = self.program("pg_ctl");
        command.arg("--log").arg(self.home.join("log")).arg("--options").arg(options);
        command.args(["--wait", "--timeout=60", "--silent", "start"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn runs(&self) -> bool {
        let mut command = self.program("pg_ctl");
        command.arg("status").output().is_ok_and(|output| output.status.success())
    }

    fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "--mode=fast",
            Stop::Immediate => "--mode=immediate",
        };
        let _ = self.program("pg_ctl").args([mode, "--wait", "--timeout=60", "--silent", "stop"]).output();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
    }
}

/// Where the server's programs are.
fn programs() -> PathBuf {
    if let Some(bin) = std::env::var_os("TEST_POSTGRES_BIN") {
        return bin.into();
    }
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut places: Vec<PathBuf> = on_path.into_iter().flatten().collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|version| version.path().join("bin")));
    places.sort();
    places.into_iter().rev().find(|place| place.join("initdb").exists()).unwrap_or_else(|| {
        panic!(
            "no PostgreSQL server (initdb, pg_ctl) was found: run ./scripts/test, or set TEST_POSTGRES_BIN"
        )
    })
}

fn server_user() -> &'static str {
    let known =
        |user: &str| Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    ["postgres", "nobody"].into_iter().find(|user| known(user)).unwrap_or_else(|| {
        panic!("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")
    })
}

fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}{}", text(&output.stdout), text(&output.stderr));
}
