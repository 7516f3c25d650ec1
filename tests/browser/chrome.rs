//! A chromedriver of its own for each test, and with it a Chromium that knows nothing and calls nobody by itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

/// What Chromium is started with: no window, no sandbox of its own (tests run as root in containers), no network of its
/// own making.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication",
    "--no-default-browser-check",
    "--password-store=basic",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--font-render-hinting=none",
];

/// LIMIT: how long chromedriver may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running chromedriver; killed, with its browser, when dropped.
pub struct Driver {
    child: Child,
    /// Where it listens.
    pub url: String,
    profile: tempfile::TempDir,
    chromium: PathBuf,
}

impl Driver {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let chromium = program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome", "chrome"]);
        let driver = program("CHROMEDRIVER", &["chromedriver"]);
        let (child, port) = (0..STARTS_MAX)
            .find_map(|_| listening(&driver))
            .unwrap_or_else(|| panic!("{} ended {STARTS_MAX} times before it listened", driver.display()));
        let profile = tempfile::tempdir().expect("a temporary directory");
        Self { child, url: format!("http://127.0.0.1:{port}"), profile, chromium }
    }

    /// What a session asks for.
    pub fn capabilities(&self) -> Value {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let flags: Vec<_> = FLAGS.iter().map(|flag| (*flag).to_owned()).chain([profile]).collect();
        json!({
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": self.chromium, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A session that a failed test left open leaves a browser behind, which its profile alone names.
        let profile = format!("user-data-dir={}", self.profile.path().display());
        let _ = Command::new("pkill").args(["-KILL", "-f", &profile]).status();
    }
}

/// The program that a variable names, else the first of `names` in the `PATH`.
fn program(variable: &str, names: &[&str]) -> PathBuf {
    if let Some(named) = std::env::var_os(variable) {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "{variable} names {}, which is no file", path.display());
        return path;
    }
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let found = names
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()));
    found.unwrap_or_else(|| {
        panic!(
            "the tests of the page need {} in the PATH, or {variable} naming it (Debian: apt-get install chromium chromium-driver)",
            names.join(" or ")
        )
    })
}

/// How often the driver is started at the most. It takes a port that is free for one family of addresses, wants the same
/// one for the other, and ends where somebody else has that.
const STARTS_MAX: usize = 5;

/// A driver that listens, and its port; none when it has ended before.
fn listening(driver: &Path) -> Option<(Child, u16)> {
    let mut child = Command::new(driver)
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", driver.display()));
    let port = port_of(&mut child);
    if port.is_none() {
        let _ = child.wait();
    }
    Some((child, port?))
}

/// The port that chromedriver says it listens on; none when it says no more.
fn port_of(child: &mut Child) -> Option<u16> {
    let stdout = child.stdout.take().expect("it is piped");
    let (said, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let port = line.split("on port ").nth(1).map(|rest| rest.trim_end_matches('.').trim().to_owned());
            // The first line repeats what was asked for: 0.
            let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
            if let Some(port) = port {
                let _ = said.send(port);
            }
        }
    });
    match hear.recv_timeout(PATIENCE) {
        Ok(port) => Some(port),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("chromedriver says no port within {PATIENCE:?}"),
    }
}
