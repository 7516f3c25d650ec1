//! Wrong usage and wrong configuration: exit code 2, one line that names the thing.

use std::fs;

use crate::program::Atlasd;

#[test]
fn an_unknown_command_and_an_unknown_option_exit_with_2() {
    let atlasd = Atlasd::new();
    for args in [&["frobnicate"][..], &["doctor", "--frobnicate"], &[]] {
        let ended = atlasd.run(args).with_code(2);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains("Usage: atlasd"), "{}", ended.stderr);
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let atlasd = Atlasd::new();
    let help = atlasd.run(["--help"]).with_code(0);
    assert!(help.stdout.contains("Exit codes: 0 done, 1 failed, 2 wrong usage"), "{}", help.stdout);
    let version = atlasd.run(["--version"]).with_code(0);
    assert_eq!(version.stdout, format!("atlasd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_configuration_key_is_named_with_file_and_line() {
    let atlasd = Atlasd::new();
    fs::write(atlasd.folder().join("atlasd.toml"), "[execution]\nlease = \"10s\"\nleese = \"9s\"\n")
        .expect("written");
    let parts = ["atlasd.toml", "line 3", "`leese`"];
    atlasd.run(["doctor", "--config", "atlasd.toml"]).failed(2, &parts);
    let by_variable =
        Atlasd::new().with("ATLASD_CONFIG", atlasd.folder().join("atlasd.toml").display().to_string());
    by_variable.run(["doctor"]).failed(2, &parts);
}

#[test]
fn a_value_that_breaks_a_rule_is_named() {
    let atlasd = Atlasd::new();
    fs::write(atlasd.folder().join("atlasd.toml"), "[execution]\nlease = \"1s\"\n").expect("written");
    atlasd.run(["doctor", "--config", "atlasd.toml"]).failed(2, &["expected execution.lease", "got 1s"]);
}

#[test]
fn a_configuration_file_that_is_missing_is_named() {
    Atlasd::new().run(["doctor", "--config", "nowhere.toml"]).failed(2, &["nowhere.toml"]);
}

#[test]
fn a_database_url_of_another_kind_is_wrong_configuration() {
    let atlasd = Atlasd::new();
    let url = ["doctor", "--database-url", "mysql://root:hunter2@db/x"];
    let ended = atlasd.run(url);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    ended.failed(2, &["sqlite://PATH", "postgres://"]);
}

#[test]
fn a_database_that_cannot_be_reached_is_a_failure_without_its_password() {
    let atlasd = Atlasd::new().with("ATLASD_DATABASE_URL", "postgres://atlasd:hunter2@127.0.0.1:1/atlasd");
    for args in [&["doctor"][..], &["migrate"], &["migrate", "--check"], &["seed"]] {
        let ended = atlasd.run(args);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        ended.failed(1, &["postgres://atlasd@127.0.0.1:1/atlasd", "is the database running"]);
    }
}

#[test]
fn a_ledger_that_is_not_there_is_not_made_by_looking() {
    let atlasd = Atlasd::new();
    for args in [&["doctor"][..], &["migrate", "--check"], &["workspaces", "list"], &["seed"]] {
        atlasd.run(args).failed(1, &["data/atlasd.db", "`atlasd migrate`"]);
    }
    assert!(!atlasd.folder().join("data").exists());
}

#[test]
fn the_flag_beats_the_environment_which_beats_the_file() {
    let atlasd = Atlasd::new().with("ATLASD_DATABASE_URL", "sqlite://environment.db");
    let file = atlasd.folder().join("atlasd.toml");
    fs::write(&file, "database_url = \"sqlite://file.db\"\n").expect("written");
    let made = |name: &str| atlasd.folder().join(name).exists();

    atlasd.run(["migrate", "--config", "atlasd.toml", "--database-url", "sqlite://flag.db"]).with_code(0);
    assert_eq!([made("flag.db"), made("environment.db"), made("file.db")], [true, false, false]);
    atlasd.run(["migrate", "--config", "atlasd.toml"]).with_code(0);
    assert_eq!([made("environment.db"), made("file.db")], [true, false]);

    let without = Atlasd::new();
    fs::copy(&file, without.folder().join("atlasd.toml")).expect("copied");
    without.run(["migrate", "--config", "atlasd.toml"]).with_code(0);
    assert!(without.folder().join("file.db").exists());
}

#[test]
fn a_client_without_a_token_or_with_a_wrong_address_is_wrong_usage() {
    Atlasd::new().run(["runs", "list"]).failed(2, &["ATLASD_TOKEN", "atlasd token create"]);
    let atlasd = Atlasd::new().with("ATLASD_TOKEN", "atlasd_x");
    atlasd.run(["runs", "list", "--url", "nowhere"]).failed(2, &["`nowhere`", "ATLASD_URL"]);
}

#[test]
fn a_client_without_a_daemon_says_how_to_start_one() {
    let atlasd = Atlasd::new().with("ATLASD_TOKEN", "atlasd_x").with("ATLASD_URL", "http://127.0.0.1:1");
    for args in [&["runs", "list"][..], &["fetch", "--all"], &["reconcile"], &["snapshots", "show", "1"]] {
        atlasd.run(args).failed(1, &["no daemon at http://127.0.0.1:1", "`atlasd serve`"]);
    }
}

#[test]
fn an_operation_without_its_subject_is_wrong_usage() {
    let atlasd = Atlasd::new().with("ATLASD_TOKEN", "atlasd_x");
    atlasd.run(["runs", "submit", "assignments.fetch"]).failed(2, &["assignments.fetch needs --tenant"]);
    atlasd.run(["runs", "submit", "ops.reconcile_adapter_runs"]).failed(2, &["needs --workspace"]);
    let unknown = atlasd.run(["runs", "submit", "assignments.fetsh", "--tenant", "1"]).with_code(2);
    assert!(unknown.stderr.contains("unknown operation `assignments.fetsh`"), "{}", unknown.stderr);
}

#[test]
fn nobody_listens_beyond_the_loopback_in_plain_text_by_accident() {
    let atlasd = Atlasd::new();
    atlasd.run(["migrate"]).with_code(0);
    let exposed = ["serve", "--listen", "0.0.0.0:0"];
    atlasd.run(exposed).failed(2, &["0.0.0.0:0", "tls.certificate_file", "--behind-proxy"]);
    fs::write(atlasd.folder().join("atlasd.toml"), "[tls]\ncertificate_file = \"none.pem\"\n")
        .expect("written");
    let half = ["serve", "--config", "atlasd.toml", "--listen", "0.0.0.0:0"];
    atlasd.run(half).failed(2, &["tls.certificate_file and tls.private_key_file together"]);
    let files = "[tls]\ncertificate_file = \"none.pem\"\nprivate_key_file = \"none.key\"\n";
    fs::write(atlasd.folder().join("atlasd.toml"), files).expect("written");
    atlasd.run(half).failed(2, &["cannot speak TLS", "none.pem"]);
    atlasd.run(["sandbox", "--listen", "0.0.0.0:0"]).failed(2, &["--open-to-all"]);
}
