//! The findings about the schema: what the migrations made, held against what is there. No I/O.
//!
//! What a guarantee rests on by itself has a finding of its own; all else is a finding per table. What is there besides
//! is nobody's fault: an index that somebody adds, or a column of a newer program.

use std::collections::BTreeMap;

use super::super::records::Finding;
use super::super::schema::{GUARDING_INDEXES, GUARDING_TRIGGERS, Object};

/// What a table's finding is called, before the table's name.
const TABLE: &str = "table_";
/// What the second finding about an index is called, after the index's name.
const VALID: &str = "_valid";
/// Objects that one advice names at the most.
const NAMED_MAX: usize = 12;

const ADVICE: &str = "somebody changed the schema: stop the daemons and restore it as the migrations have it";

/// Whether a finding of this key is about the schema, and not about rows.
pub fn is_of_schema(key: &str) -> bool {
    let name = key.strip_suffix(VALID).unwrap_or(key);
    key.starts_with(TABLE)
        || GUARDING_INDEXES.iter().chain(GUARDING_TRIGGERS).any(|(_, guard)| *guard == name)
}

/// Compares; a database with migrations that this program does not know is compared in what guards alone.
pub fn compare(expected: &[Object], found: &[Object], is_newer: bool) -> Vec<Finding> {
    let found = Found(found.iter().map(|object| (key(object), object)).collect());
    let mut findings = Vec::new();
    for (guarantee, name) in GUARDING_INDEXES {
        let state = found.state_of(expected, "index", name);
        let as_created = matches!(state, State::AsCreated | State::Off);
        findings.push(of_guard(guarantee, name, format!("the index {name} is there as created"), as_created));
        // G11 rests on them too: what is not valid refuses nothing, or refuses what it should not.
        let works = !matches!(state, State::Missing | State::Off);
        let check = format!("the index {name} is valid and in use");
        findings.push(of_guard("G11", &format!("{name}{VALID}"), check, works));
    }
    for (guarantee, name) in GUARDING_TRIGGERS {
        let well = found.state_of(expected, "trigger", name) == State::AsCreated;
        findings.push(of_guard(guarantee, name, format!("the trigger {name} is there as created"), well));
    }
    if !is_newer {
        findings.extend(tables(expected).into_iter().map(|(table, objects)| found.of_table(table, &objects)));
    }
    findings
}

/// The tables with their objects, without those that have a finding of their own.
fn tables(expected: &[Object]) -> BTreeMap<&str, Vec<&Object>> {
    let mut tables: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in expected.iter().filter(|object| !is_of_schema(&object.name)) {
        tables.entry(&object.table).or_default().push(object);
    }
    tables
}

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AsCreated,
    Missing,
    Changed,
    /// As created, and not in force.
    Off,
}

type Key<'a> = (&'a str, &'a str, &'a str);

fn key(object: &Object) -> Key<'_> {
    (&object.table, &object.kind, &object.name)
}

struct Found<'a>(BTreeMap<Key<'a>, &'a Object>);

impl Found<'_> {
    fn state(&self, expected: &Object) -> State {
        match self.0.get(&key(expected)) {
            None => State::Missing,
            Some(found) if found.definition != expected.definition => State::Changed,
            Some(found) if !found.works => State::Off,
            Some(_) => State::AsCreated,
        }
    }

    fn state_of(&self, expected: &[Object], kind: &str, name: &str) -> State {
        let object = expected.iter().find(|object| object.kind == kind && object.name == name);
        object.map_or(State::Missing, |object| self.state(object))
    }

    fn of_table(&self, table: &str, expected: &[&Object]) -> Finding {
        let states: Vec<(&Object, State)> =
            expected.iter().map(|object| (*object, self.state(object))).collect();
        let broken = states.iter().filter(|(_, state)| *state != State::AsCreated).count();
        let is_missing = !self.0.keys().any(|(of, _, _)| *of == table);
        let advice = match broken {
            0 => String::new(),
            _ if is_missing => format!("the table {table} is missing; {ADVICE}"),
            _ => format!("of the table {table}, {}; {ADVICE}", told(&states)),
        };
        Finding {
            guarantee: "schema".to_owned(),
            key: format!("{TABLE}{table}"),
            check: format!("the table {table} is there as created"),
            looked_at: count(expected.len()),
            broken: count(broken),
            examples: Vec::new(),
            advice,
        }
    }
}

fn count(objects: usize) -> i64 {
    i64::try_from(objects).unwrap_or(i64::MAX)
}

/// What is wrong with which objects.
fn told(states: &[(&Object, State)]) -> String {
    let wrong = states.iter().filter_map(|(object, state)| {
        let how = match state {
            State::AsCreated => return None,
            State::Missing => "is missing",
            State::Changed => "was changed",
            State::Off => "is not in force",
        };
        Some(format!("the {} {} {how}", object.kind, object.name))
    });
    let wrong: Vec<String> = wrong.collect();
    let more = wrong.len().saturating_sub(NAMED_MAX);
    let named = wrong[..wrong.len() - more].join(", ");
    if more > 0 { format!("{named}, and {more} more") } else { named }
}

fn of_guard(guarantee: &str, key: &str, check: String, well: bool) -> Finding {
    Finding {
        guarantee: guarantee.to_owned(),
        key: key.to_owned(),
        check,
        looked_at: 1,
        broken: i64::from(!well),
        examples: Vec::new(),
        advice: if well { String::new() } else { ADVICE.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(table: &str, kind: &str, name: &str, definition: &str) -> Object {
        let [table, kind, name, definition] = [table, kind, name, definition].map(str::to_owned);
        Object { table, kind, name, definition, works: true }
    }

    fn runs() -> Vec<Object> {
        vec![
            object("runs", "column", "id", "bigint NOT NULL"),
            object("runs", "constraint", "runs_known", "CHECK (TRUE)"),
            object("runs", "index", "runs_of_it", "CREATE INDEX"),
        ]
    }

    fn of_runs(found: &[Object]) -> Finding {
        let findings = compare(&runs(), found, false);
        findings.into_iter().find(|finding| finding.key == "table_runs").expect("each table has a finding")
    }

    #[test]
    fn a_table_is_told_with_what_is_wrong() {
        let well = of_runs(&runs());
        assert_eq!((well.looked_at, well.broken, well.advice.as_str()), (3, 0, ""));
        let mut found = runs();
        found[0].definition = "bigint".to_owned();
        found[2].works = false;
        found.remove(1);
        let finding = of_runs(&found);
        assert_eq!((finding.looked_at, finding.broken), (3, 3));
        for part in
            ["column id was changed", "constraint runs_known is missing", "index runs_of_it is not in force"]
        {
            assert!(finding.advice.contains(part), "{}", finding.advice);
        }
        assert!(of_runs(&[]).advice.starts_with("the table runs is missing"));
    }

    #[test]
    fn what_is_there_besides_is_fine() {
        let mut found = runs();
        found.push(object("runs", "column", "of_a_newer_program", "text"));
        assert_eq!(of_runs(&found).broken, 0);
    }

    #[test]
    fn of_a_newer_schema_only_what_guards_is_compared() {
        let findings = compare(&runs(), &[], true);
        assert!(findings.len() > 10 && findings.iter().all(|finding| finding.key != "table_runs"));
    }

    #[test]
    fn findings_about_the_schema_are_known_by_their_key() {
        for key in ["table_runs", "operation_runs_holder_tenant", "operation_runs_holder_tenant_valid"] {
            assert!(is_of_schema(key), "{key}");
        }
        assert!(is_of_schema("restore_items_ended_is_final") && !is_of_schema("holder_unique"));
    }
}
