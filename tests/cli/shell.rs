//! What a shell and a terminal get of the program: completions, manual pages, pipes that close early, colours.

use std::process::{Command, Stdio};

use crate::program::Atlasd;

#[test]
fn each_shell_has_its_completions() {
    let atlasd = Atlasd::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = atlasd.run(["completions", shell]).with_code(0).stdout;
        for word in ["schedules", "snapshots", "completions"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    assert!(atlasd.run(["completions", "dosbox"]).with_code(2).stderr.contains("possible values"));
}

#[test]
fn each_command_has_a_manual_page() {
    let atlasd = Atlasd::new();
    let page = atlasd.run(["man"]).with_code(0).stdout;
    assert!(page.contains(".TH atlasd 1") && page.contains("EXIT") | page.contains("Exit codes"), "{page}");
    let told = atlasd.run(["man", "pages"]).with_code(0);
    assert!(told.stderr.contains("`man pages/atlasd.1`"), "{}", told.stderr);
    for name in ["atlasd", "atlasd-runs", "atlasd-runs-list", "atlasd-schedules-next", "atlasd-token-revoke"]
    {
        let page = std::fs::read_to_string(atlasd.folder().join(format!("pages/{name}.1"))).expect(name);
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    for args in [
        &["completions", "bash"][..],
        &["man"],
        &["--help"],
        &["schedules", "next", "* * * * *", "-n", "1000"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Closed before anything was read.
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !said.contains("panicked") && ended.status.code() == Some(0),
            "{args:?}: {:?} {said}",
            ended.status
        );
    }
}

#[test]
fn colours_are_forced_and_forbidden_by_the_environment() {
    let forced = Atlasd::new().with("CLICOLOR_FORCE", "1");
    let coloured = forced.run(["schedules", "next", "x"]).with_code(2).stderr;
    assert!(coloured.starts_with("\u{1b}[1;31merror:"), "{coloured:?}");
    let forbidden = Atlasd::new().with("CLICOLOR_FORCE", "1").with("NO_COLOR", "1");
    forbidden.run(["schedules", "next", "x"]).failed(2, &["expected five fields"]);
}

#[test]
fn a_misspelt_command_is_told_what_was_meant() {
    let said = Atlasd::new().run(["shedules"]).with_code(2).stderr;
    assert!(said.contains("schedules"), "{said}");
}
