//! What operators read and load: the pages of metrics and of reason codes, the dashboard, the alert rules, the unit.
//!
//! The two pages are made here: `ATLASD_TEST_REWRITE=1 ./scripts/test --test operating` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use atlasd::domain::failure::Code;
use atlasd::metrics::{Described, Kind, Metrics};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The file must say what `wanted` says; it is written where that is asked for.
#[track_caller]
fn check_page(file: &str, wanted: &str) {
    if std::env::var_os("ATLASD_TEST_REWRITE").is_some() {
        std::fs::write(path(file), wanted).expect("the page can be written");
        return;
    }
    let found = std::fs::read_to_string(path(file)).unwrap_or_default();
    assert_eq!(found, wanted, "{file} is old: ATLASD_TEST_REWRITE=1 writes it");
}

#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` answers what this page lists, as OpenMetrics and without a token. Every number is one instance's,\n\
         and begins at zero when it starts; what is said to be the ledger's is the same on all. No label has values without\n\
         an end: there is no tenant, run, name or message among them. This page is made from the code: `tests/operating.rs`.\n\n\
         A histogram `x` is read as `x_bucket`, `x_sum` and `x_count`. A counter with labels appears with its first event.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for Described { name, kind, labels, help } in Metrics::new().described() {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        writeln!(page, "| `{name}` | {} | {labels} | {help} |", kind.as_str()).expect("writing to a String");
    }
    check_page("docs/metrics.md", &page);
}

/// The doc comment of each reason code, which stands above its text.
fn meaning(code: &str) -> String {
    let source = include_str!("../src/domain/failure.rs");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.ends_with(&format!("= \"{code}\",")));
    let above = lines[..at.unwrap_or_else(|| panic!("{code} stands in failure.rs"))].iter().rev();
    let mut docs: Vec<_> = above.map_while(|line| line.strip_prefix("/// ")).collect();
    docs.reverse();
    docs.join(" ")
}

#[test]
fn the_page_of_reason_codes_has_every_code_with_what_to_do() {
    let mut page = String::from(
        "# Reason codes\n\n\
         Why a run failed: the `code` of an entry of `failure_summary`, of `atlasd failures` and of the page of failures. The\n\
         list is closed, and a code never depends on what a foreign message says. A run that failed may be asked for again\n\
         with `atlasd runs retry RUN`, or many with `POST /api/v1/runs/batch`; what is done already is not done twice.\n\
         This page is made from the code: `tests/operating.rs`.\n\n\
         | code | what has happened | what to do next |\n| --- | --- | --- |\n",
    );
    for code in Code::ALL {
        writeln!(page, "| `{code}` | {} | {} |", meaning(code.as_str()), code.advice()).expect("a String");
    }
    check_page("docs/reason-codes.md", &page);
}

/// Names in a text that begin like ours.
fn named_metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c: char| !word(c)).filter(|name| name.starts_with("atlasd_"));
    names.map(str::to_owned).collect()
}

/// The names that a query may have.
fn known_metrics() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for metric in Metrics::new().described() {
        known.insert(metric.name.clone());
        if metric.kind == Kind::Histogram {
            known.extend(["bucket", "sum", "count"].map(|suffix| format!("{}_{suffix}", metric.name)));
        }
    }
    known
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for Described { name, kind, help, .. } in Metrics::new().described() {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds") || name.ends_with("_runs"), "{name}");
        assert!(help.len() > 10 && !help.ends_with('.'), "{name}: {help}");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let known = known_metrics();
    for file in ["packaging/grafana/atlasd.json", "packaging/prometheus/alerts.yml"] {
        let named = named_metrics(&read(file));
        assert!(named.len() > 8, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_json_whose_panels_have_queries() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("packaging/grafana/atlasd.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    for panel in panels {
        assert!(panel["targets"][0]["expr"].is_string(), "{}", panel["title"]);
    }
}

#[test]
fn the_manual_says_what_to_do_about_every_alert() {
    let (alerts, manual) = (read("packaging/prometheus/alerts.yml"), read("docs/operating.md"));
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(manual.contains(&format!("`{name}`")), "docs/operating.md does not name {name}");
    }
}

#[test]
fn the_debian_package_brings_what_its_script_makes() {
    let script = read("packaging/debian/build");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let assets: Vec<(&str, &str)> = assets
        .iter()
        .map(|asset| (asset[0].as_str().expect("a source"), asset[1].as_str().expect("a place")))
        .collect();
    for place in ["usr/share/man/man1/", "usr/share/bash-completion/completions/atlasd"] {
        assert!(assets.iter().any(|(_, to)| *to == place), "{place} is in no package");
    }
    for (source, _) in assets {
        let made = source.strip_prefix("target/debian-files/").and_then(|file| file.split(['/', '.']).nth(1));
        match made {
            Some("*") => assert!(script.contains("man \"$made/man\""), "{source}"),
            Some(shell) => assert!(script.contains(&format!(" {shell}")), "{source}"),
            None if source.starts_with("target/") => {}
            None => {
                let folder = source.trim_end_matches("*.md");
                assert!(path(folder).exists(), "{source} is not there");
            }
        }
    }
}

#[test]
fn the_container_listens_where_it_can_be_reached() {
    let file = read("packaging/Containerfile");
    assert!(file.contains("ATLASD_LISTEN=0.0.0.0:7717"), "on its loopback nobody outside reaches it");
    let manual = read("docs/operating.md");
    assert!(manual.contains("-e ATLASD_BEHIND_PROXY=1"), "without TLS it refuses to listen there");
}

#[test]
fn the_unit_waits_for_the_daemon_and_gives_it_little() {
    let unit = read("packaging/atlasd.service");
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "StateDirectory=atlasd",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
    assert!(unit.contains("LoadCredential="));
}
