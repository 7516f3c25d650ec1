//! The log of a daemon at work, line by line.

use serde_json::Value;

use crate::program::{Atlasd, shows_a_token};

#[test]
fn each_line_is_a_sentence_with_fields() {
    let program = Atlasd::new().with("ATLASD_LOG", "info").with("ATLASD_LOG_FORMAT", "json");
    let tour = program.run(["demo", "--once", "--listen", "127.0.0.1:0"]).with_code(0);
    let lines: Vec<Value> = tour
        .stderr
        .lines()
        // The tour itself tells how far its runs are.
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        let message = line["message"].as_str().unwrap_or_else(|| panic!("no sentence: {line}"));
        assert!(message.contains(' ') && !message.contains('{'), "what varies is a field: {line}");
    }
    let ended: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "an execution has ended" && line["tenant.id"] != Value::Null)
        .collect();
    assert!(!ended.is_empty(), "{}", tour.stderr);
    for line in ended {
        assert!(line["run.id"].is_i64() && line["duration_ms"].is_u64(), "{line}");
        assert!(line["tenant.id"].is_i64() && line["run.type"].is_string(), "{line}");
    }
    assert!(!shows_a_token(&tour.stderr), "{}", tour.stderr);
}
