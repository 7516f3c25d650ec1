//! A demo that stays, used as the README's tour says.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::Atlasd;

/// How long a condition may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo; killed when dropped.
struct Demo {
    child: Child,
    /// What it has printed once its tour was over.
    said: String,
    log: PathBuf,
    _folder: TempDir,
}

impl Demo {
    /// Starts one with a configuration and waits until it says what to try.
    fn start(config: &str) -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        let (file, log) = (folder.path().join("atlasd.toml"), folder.path().join("log"));
        std::fs::write(&file, config).expect("the directory is writable");
        let mut child = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .env_clear()
            .env("HOME", folder.path())
            .args(["demo", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("the directory is writable"))
            .spawn()
            .expect("the program was built for this test");
        let stdout = child.stdout.take().expect("it is piped");
        let mut said = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("text");
            said.push_str(&line);
            said.push('\n');
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let demo = Self { child, said, log, _folder: folder };
        assert!(demo.said.contains("Ctrl-C"), "it ended: {}\n{}", demo.said, demo.log());
        demo
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What follows `before` in a line of what it said.
    fn told(&self, before: &str) -> String {
        let found = self.said.lines().find_map(|line| line.trim_start().strip_prefix(before));
        found.unwrap_or_else(|| panic!("no {before} in {}", self.said)).trim().to_owned()
    }

    fn client(&self) -> Atlasd {
        let (url, token) = (self.told("export ATLASD_URL="), self.told("export ATLASD_TOKEN="));
        Atlasd::new().with("ATLASD_URL", url).with("ATLASD_TOKEN", token)
    }

    /// Asks for what the README asks with curl.
    fn post(&self, path: &str, body: String) -> Value {
        let url = format!("{}{path}", self.told("export ATLASD_URL="));
        let request = reqwest::Client::new().post(url).bearer_auth(self.told("export ATLASD_TOKEN="));
        let request = request.header("content-type", "application/json").body(body);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let text = runtime.block_on(async { request.send().await?.error_for_status()?.text().await });
        serde_json::from_str(&text.expect("an answer")).expect("JSON")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The README's tour.
fn tour() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let (_, tour) = readme.split_once("## A short tour").expect("a tour");
    tour.split_once("\n## ").expect("what follows it").0.to_owned()
}

/// A line as a shell splits it: only double quotes are known here.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[test]
fn the_tour_of_the_readme_can_be_gone() {
    let demo = Demo::start("");
    let (client, tour, ledger) = (demo.client(), tour(), demo.told("ledger "));
    assert!(tour.contains("/runs/1\n") && demo.said.contains("/runs/1\n"), "{}", demo.said);
    let commands: Vec<_> = tour.lines().filter_map(|line| line.strip_prefix("atlasd ")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let given = |word: String| if word.starts_with("sqlite://") { ledger.clone() } else { word };
        let code = if command.contains("--fail-on-refused") { 3 } else { 0 };
        let ended = client.run(words(command).into_iter().map(given));
        assert_eq!(ended.code, code, "atlasd {command}\n{}\n{}", ended.stdout, ended.stderr);
    }
    let (_, question) = tour.split_once("-d '").expect("a question");
    let (question, _) = question.split_once('\'').expect("its end");
    let explained = demo.post("/api/v1/identity/explain", question.to_owned());
    let differences = explained["differences"].as_array().expect("a list");
    assert_eq!(differences.len(), 1, "run 1 differs in its policy types alone: {explained}");
}

#[test]
fn a_demo_whose_configuration_is_read_again_keeps_its_sandbox() {
    let demo = Demo::start("[http]\npage_max = 400\n");
    demo.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    while !demo.log().contains("the configuration was read again") {
        assert!(Instant::now() < deadline, "{}", demo.log());
        // Any call paces the loop.
        demo.client().run(["runs", "list", "--limit", "1"]).with_code(0);
    }
    demo.client().run(["fetch", "Contoso Manufacturing", "--force", "--wait"]).with_code(0);
}
