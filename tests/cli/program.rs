//! Runs the built program with an environment of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use atlasd::cli::token::TOKEN_PREFIX;
use serde_json::Value;
use tempfile::TempDir;

/// The program in a folder of its own: no configuration, no data and no token of the caller reaches it.
pub struct Atlasd {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Atlasd {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary directory"), variables: Vec::new() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasd"));
        command.env_clear().env("HOME", self.folder()).env("ATLASD_DATA_DIR", self.folder().join("data"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let Output { status, stdout, stderr } =
            command.current_dir(self.folder()).args(args).output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }
}

/// Whether a text has something that looks like a token of this program.
pub fn shows_a_token(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    text.split(TOKEN_PREFIX)
        .skip(1)
        .any(|rest| rest.chars().take_while(|letter| is_part(*letter)).count() >= 30)
}

#[test]
fn a_token_is_known_by_its_looks() {
    assert!(shows_a_token(&format!("a {TOKEN_PREFIX}{} b", "aB3-_".repeat(6))));
    assert!(!shows_a_token("atlasd_runs_total 3"));
}

impl Ended {
    /// Asserts the exit code; shows everything when it is another.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it failed with `code` and one line of error that has all of `parts`.
    #[track_caller]
    pub fn failed(self, code: i32, parts: &[&str]) {
        let ended = self.with_code(code);
        assert_eq!(ended.stdout, "", "a failure prints nothing on stdout");
        let line = ended.stderr.strip_suffix('\n').expect("a line");
        assert!(line.starts_with("error: ") && !line.contains('\n'), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours where there is no terminal: {line}");
        for part in parts {
            assert!(line.contains(part), "expected {part} in {line}");
        }
    }

    /// The JSON on stdout.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}
