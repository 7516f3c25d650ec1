//! `atlasd serve` as systemd sees it: what it tells on `NOTIFY_SOCKET`.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a condition may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager with one service.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
    service: Child,
}

impl Manager {
    /// Starts the daemon; `watchdog` is how long it may be silent.
    fn start(watchdog: Duration) -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory is writable");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("it is more than zero");
        let config = folder.path().join("atlasd.toml");
        std::fs::write(&config, "[shutdown]\ndrain = \"1s\"\n").expect("the directory is writable");
        let service = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args(["serve", "--migrate", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--database-url")
            .arg(format!("sqlite://{}", folder.path().join("atlasd.db").display()))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program was built for this test");
        Self { folder, socket, service }
    }

    /// Reads until a message has the line; what came by then.
    #[track_caller]
    fn until(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while Instant::now() < deadline {
            let mut message = [0; 4096];
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]).into_owned();
                    lines.extend(text.lines().map(str::to_owned));
                    if lines.iter().any(|told| told == line) {
                        return lines;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{line} was not told; only {lines:?}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.service.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

#[test]
fn systemd_is_told_of_each_step_and_that_the_daemon_lives() {
    let mut manager = Manager::start(Duration::from_secs(3));
    let before = manager.until("READY=1");
    assert!(!before.iter().any(|told| told == "STOPPING=1"), "{before:?}");
    for _ in 0..3 {
        let told = manager.until("WATCHDOG=1");
        assert!(told.iter().any(|line| line == "STATUS=admits work; 0 executions here"), "{told:?}");
    }
    manager.signal("HUP");
    let reloading = manager.until("RELOADING=1");
    let clock =
        reloading.iter().chain(&manager.until("READY=1")).any(|line| line.starts_with("MONOTONIC_USEC="));
    assert!(clock, "{reloading:?}");
    manager.signal("TERM");
    manager.until("STOPPING=1");
    assert!(manager.service.wait().expect("it is ours").success());
    assert!(manager.folder.path().join("atlasd.db").exists());
}
