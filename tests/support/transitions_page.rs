//! `docs/transitions.md`, made from the tables of `src/domain/transition/matrix.rs` and the words that explain them there.

use std::fmt::Write;
use std::path::Path;

use atlasd::domain::transition::{EventKind, Expected, StateKind, expected};

const SOURCE: &str = include_str!("../../src/domain/transition/matrix.rs");

/// The doc comment of a variant, on one line.
fn meaning(variant: &str) -> String {
    let lines: Vec<&str> = SOURCE.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.strip_suffix(',') == Some(variant));
    let at = at.unwrap_or_else(|| panic!("{variant} stands in matrix.rs"));
    let docs = lines[..at].iter().rev().map_while(|line| line.strip_prefix("/// "));
    let mut docs: Vec<&str> = docs.collect();
    docs.reverse();
    assert!(!docs.is_empty(), "{variant} has a doc comment");
    docs.join(" ")
}

fn cell(state: StateKind, event: EventKind) -> String {
    match expected(state, event) {
        Expected::Becomes(next) => format!("{next:?}"),
        Expected::Ignored => "·".to_owned(),
        Expected::Stale => "stale".to_owned(),
    }
}

fn page() -> String {
    let mut page = String::from(
        "# The transitions of a run\n\n\
         Every event in every state, as `src/domain/transition/matrix.rs` has it. This page is made from that file:\n\
         `ATLASD_TEST_REWRITE=1 ./scripts/test --test store_matrix` writes it, and the same test fails when it differs.\n\
         `tests/store_matrix.rs` walks the store through all pairs on SQLite and on PostgreSQL; the server's own count of\n\
         aborted transactions stays zero.\n\n\
         A name is the state that the run is in afterwards. `·` is nothing, and that is well. `stale` is nothing but a row\n\
         in the run's attempts.\n\n",
    );
    let states = StateKind::ALL.map(|state| format!("{state:?}"));
    writeln!(page, "| event | {} |\n| --- |{}", states.join(" | "), " --- |".repeat(states.len())).unwrap();
    for event in EventKind::ALL {
        let cells = StateKind::ALL.map(|state| cell(state, event));
        writeln!(page, "| {event:?} | {} |", cells.join(" | ")).unwrap();
    }
    page.push_str("\n## States\n\n");
    for state in states {
        writeln!(page, "- **{state}**: {}", meaning(&state)).unwrap();
    }
    page.push_str("\n## Events\n\n");
    for event in EventKind::ALL.map(|event| format!("{event:?}")) {
        writeln!(page, "- **{event}**: {}", meaning(&event)).unwrap();
    }
    page
}

#[test]
fn the_page_of_transitions_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transitions.md");
    let wanted = page();
    if std::env::var_os("ATLASD_TEST_REWRITE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/transitions.md is not what the code says: ATLASD_TEST_REWRITE=1 ./scripts/test --test store_matrix"
    );
}
