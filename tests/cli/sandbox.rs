//! `atlasd sandbox --from-snapshot`: a good file is played, a bad one is refused with its place.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::Atlasd;

const TENANT: &str = "7c1f5b0e-3a64-4d92-8e17-5f0b9c2d6a31";

fn file() -> Value {
    // The hash of the empty set: SHA-256 over `[]`.
    let empty = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945";
    json!({
        "format": "atlasd.snapshot", "version": 1, "exported_at": "2026-01-02T03:04:05Z",
        "tenant": {"external_id": TENANT, "name": "Contoso", "cloud": "global"},
        "snapshot": {"id": 1, "created_at": "2026-01-02T03:00:00Z", "coverage": {}},
        "items": [{"policy_type": "intent", "policy_id": "p1", "name": "Baseline", "assignments": [],
            "assignments_hash": empty}],
    })
}

#[test]
fn a_bad_file_is_refused_with_its_place() {
    let atlasd = Atlasd::new();
    let path = atlasd.folder().join("snapshot.json");
    let mut bad = file();
    bad["items"][0]["policy_type"] = "intents".into();
    fs::write(&path, bad.to_string()).expect("written");
    let from = ["sandbox", "--from-snapshot", "snapshot.json"];
    atlasd.run(from).failed(2, &["snapshot.json", "items[0].policy_type", "\"intents\""]);
    atlasd.run(["sandbox", "--from-snapshot", "none.json"]).failed(1, &["none.json"]);
    let both = atlasd.run(["sandbox", "--from-snapshot", "snapshot.json", "--policies", "3"]).with_code(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let alone = atlasd.run(["sandbox", "--tenant", TENANT]).with_code(2);
    assert!(alone.stderr.contains("--from-snapshot"), "{}", alone.stderr);
}

#[test]
fn a_good_file_is_played_under_its_own_id_or_another() {
    let atlasd = Atlasd::new();
    fs::write(atlasd.folder().join("snapshot.json"), file().to_string()).expect("written");
    let other = "00000000-0000-4000-8000-000000000007";
    for (more, id) in [(&[][..], TENANT), (&["--tenant", other], other)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasd"));
        command.env_clear().current_dir(atlasd.folder()).stdout(Stdio::piped());
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--from-snapshot", "snapshot.json"]).args(more);
        let mut sandbox = command.spawn().expect("the program starts");
        let lines = BufReader::new(sandbox.stdout.take().expect("it is piped")).lines();
        let line = lines.map_while(Result::ok).find(|line| line.contains("policies"));
        sandbox.kill().expect("it runs");
        sandbox.wait().expect("it ends");
        let line = line.expect("its tenants are listed");
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [id, "1", "policies", "Contoso"]);
    }
}
