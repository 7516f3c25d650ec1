//! A restore in words: what a plan adds, removes and changes, what it widens, and what stands in its way with advice.
//!
//! Only what the daemon answered is shown. What this program does not know (a newer daemon's words) is shown as it
//! came, never left out.

use serde_json::Value;

use super::CliError;
use super::output::printable;
use super::views::text;
use crate::domain::assignment::{Assignment, Filter, FilterMode, Target};

/// A plan, or what became of it: a line of counts, then each policy that is not already as wanted.
pub fn describe(items: &[Value]) -> String {
    let mut lines = vec![counts(items)];
    for item in items.iter().filter(|item| text(item, "state") != "skipped") {
        lines.push(String::new());
        lines.push(heading(item));
        lines.extend(changes(item.get("diff")).into_iter().map(|line| format!("  {line}")));
        lines.extend(widenings(item).into_iter().map(|line| format!("  ! {line}")));
        lines.extend(failure(item).map(|line| format!("  x {line}")));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

/// How many policies are to be written: none means that there is nothing to carry out.
pub fn to_write(items: &[Value]) -> usize {
    items.iter().filter(|item| text(item, "state") == "planned").count()
}

/// What it means that a plan writes nothing.
///
/// # Errors
/// [`CliError::Failed`] when there is something to restore and all of it is refused.
pub fn nothing_to_write(items: &[Value]) -> Result<(), CliError> {
    match items.iter().filter(|item| text(item, "state") == "failed").count() {
        0 => Ok(()),
        refused => Err(CliError::Failed(format!("nothing was written: {refused} refused"))),
    }
}

fn counts(items: &[Value]) -> String {
    let states =
        [("planned", "to write"), ("sent", "sent"), ("verified", "written"), ("skipped", "as wanted")];
    let count = |state: &str| items.iter().filter(|item| text(item, "state") == state).count();
    let mut parts: Vec<String> = states
        .iter()
        .map(|(state, words)| (count(state), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    if count("failed") > 0 {
        parts.push(format!("{} refused or failed", count("failed")));
    }
    let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    format!("{} {}: {parts}", items.len(), if items.len() == 1 { "policy" } else { "policies" })
}

fn heading(item: &Value) -> String {
    let (name, id) = (text(item, "name"), text(item, "policy_id"));
    let state = match text(item, "state").as_str() {
        "planned" => "to write".to_owned(),
        "sent" => "sent, not read back yet".to_owned(),
        "verified" => "written".to_owned(),
        "failed" if text(item, "sent_hash").is_empty() => "not touched".to_owned(),
        other => other.to_owned(),
    };
    format!("{} \"{name}\" ({id}): {state}", text(item, "policy_type"))
}

/// A difference, one line per assignment: `+` added, `-` removed, `~` changed.
pub fn changes(diff: Option<&Value>) -> Vec<String> {
    let list = |name: &str| diff.and_then(|diff| diff.get(name)).and_then(Value::as_array).cloned();
    let mut lines = Vec::new();
    for (name, sign) in [("added", '+'), ("removed", '-')] {
        lines.extend(list(name).into_iter().flatten().map(|one| format!("{sign} {}", assignment(&one))));
    }
    lines.extend(list("changed").into_iter().flatten().map(|pair| format!("~ {}", changed(&pair))));
    lines
}

fn changed(pair: &Value) -> String {
    let both = serde_json::from_value::<(Assignment, Assignment)>(pair.clone());
    let Ok((before, after)) = both else { return pair.to_string() };
    let subject = subject(&before);
    let (old, new) = (terms(&before), terms(&after));
    if old == new { format!("{subject}: other settings") } else { format!("{subject}: {old} -> {new}") }
}

/// An assignment in words.
fn assignment(value: &Value) -> String {
    match serde_json::from_value::<Assignment>(value.clone()) {
        Err(_) => value.to_string(),
        Ok(known) if known.filter.is_none() && known.extras.is_empty() => subject(&known),
        Ok(known) => format!("{}, {}", subject(&known), terms(&known)),
    }
}

/// Whom it reaches, and for what.
fn subject(assignment: &Assignment) -> String {
    let target = match &assignment.target {
        Target::Group { group_id } => format!("group {group_id}"),
        Target::ExclusionGroup { group_id } => format!("not for group {group_id}"),
        Target::AllUsers => "all users".to_owned(),
        Target::AllDevices => "all devices".to_owned(),
        Target::ConfigurationManagerCollection { collection_id } => format!("collection {collection_id}"),
        Target::CloudPcGroup { group_id, .. } => format!("Cloud PC group {group_id}"),
        Target::OfficeGroup { group_id } => format!("Office group {group_id}"),
        Target::RoleScope { members, resource_scopes, .. } => {
            let list = |ids: &std::collections::BTreeSet<String>| {
                ids.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
            };
            format!("members {}, scopes {}", list(members), list(resource_scopes))
        }
    };
    let intent = assignment.intent.as_ref().map(|intent| format!(" ({intent})")).unwrap_or_default();
    let source = assignment.inherited_from.as_ref().map(|from| format!(", from {from}")).unwrap_or_default();
    format!("{target}{intent}{source}")
}

/// Its filter and its settings.
fn terms(assignment: &Assignment) -> String {
    let filter = match &assignment.filter {
        None => "no filter".to_owned(),
        Some(Filter { id, mode: FilterMode::Include }) => format!("only what filter {id} matches"),
        Some(Filter { id, mode: FilterMode::Exclude }) => format!("without what filter {id} matches"),
    };
    let extras: Vec<&str> = assignment.extras.keys().map(String::as_str).collect();
    if extras.is_empty() { filter } else { format!("{filter}, with {}", extras.join(", ")) }
}

fn widenings(item: &Value) -> Vec<String> {
    let words = item.get("widens").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // What is added stands above already, and is what a restore is for.
    let guarded = words.filter(|word| *word != "target_added");
    let told = guarded.map(|word| match word {
        "exclusion_lost" => "WIDENS: a group that was excluded would be reached".to_owned(),
        "filter_lost" => "WIDENS: a filter would be lost or be another one".to_owned(),
        "group_becomes_everybody" => "WIDENS: groups would become everybody".to_owned(),
        other => format!("WIDENS: {other}"),
    });
    told.collect()
}

/// Why a policy was refused or failed, and what to do about it.
fn failure(item: &Value) -> Option<String> {
    let failure = item.get("failure").filter(|failure| failure.is_object())?;
    let (code, message) = (text(failure, "code"), text(failure, "message"));
    let advice = advice(&code).map(|advice| format!("; {advice}")).unwrap_or_default();
    Some(format!("{code}: {message}{advice}"))
}

/// Why a policy was not restored, in short: for a table.
pub fn failure_in_short(item: &Value) -> String {
    item.get("failure").map(|failure| text(failure, "code")).unwrap_or_default()
}

/// What an administrator can do about a policy that was not restored, where its message does not say so already.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "assignments.group_unmapped" | "assignments.group_deleted" => "--group-map FROM=TO",
        "assignments.guard_blocked" => "--allow-widening",
        "graph.permission_missing" | "graph.forbidden" => "`atlasd tenants check NAME` names what is missing",
        "graph.approval_required" => "Multi Admin Approval protects it: have the change approved in Intune",
        "graph.throttled" | "graph.unavailable" | "graph.timeout" | "graph.network" => "restore again later",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(state: &str, rest: Value) -> Value {
        let mut item = json!({"policy_type": "mobileApp", "policy_id": "p1", "name": "Portal", "state": state,
            "widens": [], "diff": null, "failure": null, "sent_hash": null});
        item.as_object_mut().expect("an object").extend(rest.as_object().cloned().expect("an object"));
        item
    }

    #[test]
    fn a_plan_says_in_words_what_it_does() {
        let diff = json!({
            "added": [{"target": {"type": "group", "group_id": "g1"}, "filter": null, "intent": "required"}],
            "removed": [{"target": {"type": "all_users"}, "filter": {"id": "f1", "mode": "exclude"}}],
            "changed": [[
                {"target": {"type": "all_devices"}, "filter": {"id": "f1", "mode": "include"}},
                {"target": {"type": "all_devices"}, "filter": null, "extras": {"settings": {}}},
            ]],
        });
        let widens = json!(["target_added", "filter_lost"]);
        let items = [item("planned", json!({"diff": diff, "widens": widens})), item("skipped", json!({}))];
        let expected = "\
2 policies: 1 to write, 1 as wanted

mobileApp \"Portal\" (p1): to write
  + group g1 (required)
  - all users, without what filter f1 matches
  ~ all devices: only what filter f1 matches -> no filter, with settings
  ! WIDENS: a filter would be lost or be another one";
        assert_eq!(describe(&items), expected);
        assert_eq!(to_write(&items), 1);
    }

    #[test]
    fn a_refusal_has_its_code_and_advice() {
        let failure = json!({"code": "assignments.group_unmapped", "message": "group g9 is not in the map"});
        let text = describe(&[item("failed", json!({"failure": failure}))]);
        assert!(text.starts_with("1 policy: 1 refused or failed\n"), "{text}");
        assert!(text.contains("(p1): not touched\n"), "{text}");
        assert!(
            text.ends_with("x assignments.group_unmapped: group g9 is not in the map; --group-map FROM=TO"),
            "{text}"
        );
        assert_eq!(describe(&[]), "0 policies: nothing to do");
        assert!(nothing_to_write(&[item("failed", json!({}))]).is_err());
        assert!(nothing_to_write(&[item("skipped", json!({}))]).is_ok());
    }

    #[test]
    fn what_a_newer_daemon_says_is_shown_as_it_came() {
        let diff = json!({"added": [{"target": {"type": "planet"}}], "removed": [], "changed": [[1, 2]]});
        let lines = changes(Some(&diff));
        assert_eq!(lines, ["+ {\"target\":{\"type\":\"planet\"}}", "~ [1,2]"]);
        let text = describe(&[item(
            "dreamt",
            json!({"widens": ["more"], "failure": {"code": "x.y", "message": "m"}}),
        )]);
        assert!(text.contains("(p1): dreamt\n  ! WIDENS: more\n  x x.y: m"), "{text}");
    }

    #[test]
    fn a_policys_name_cannot_steer_the_terminal() {
        let text = describe(&[item("planned", json!({"name": "a\u{1b}[2J\nerror: no"}))]);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 3, "{text}");
    }
}
