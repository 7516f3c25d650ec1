//! What the service refuses in a write, rule by rule: what a client can know beforehand, and should.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::assignments::{self, ALL_USERS_PSEUDO_GROUP, FILTER_ID, FILTER_TYPE, ZERO_ID};
use super::state::{Policy, Tenant};
use crate::domain::policy_types::{Filters, PolicyType, TargetKind};

/// A rule that was broken: its name, for counters, and what the service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Stable.
    pub rule: &'static str,
    /// In the service's words.
    pub sentence: String,
}

impl Broken {
    /// A broken rule.
    pub fn new(rule: &'static str, sentence: impl Into<String>) -> Self {
        Self { rule, sentence: sentence.into() }
    }
}

/// Whether the policy itself may be written.
///
/// # Errors
/// With the rule that forbids it.
pub fn check_policy(policy: &Policy) -> Result<(), Broken> {
    if policy.body.get("priority").is_some_and(|priority| priority == 0) {
        return Err(Broken::new("enrollment_default", "The default configuration cannot be assigned"));
    }
    if policy.body.get("publishingState").is_some_and(|state| state != "published") {
        return Err(Broken::new("app_not_published", "The app must be published before it is assigned"));
    }
    Ok(())
}

/// Whether the policy may have the assignment: its target and the properties beside it.
///
/// # Errors
/// With the rule that forbids it.
pub fn check_item(tenant: &Tenant, policy: &Policy, item: &Map<String, Value>) -> Result<(), Broken> {
    let row = policy.row;
    let target = item.get("target").and_then(Value::as_object);
    let target = target.ok_or_else(|| Broken::new("shape", "The property 'target' is required"))?;
    if target.get("@odata.type").is_some_and(|name| name == assignments::COLLECTION_TARGET) {
        let taken = row.targets.contains(&TargetKind::AllDevices) && target.get("collectionId").is_some();
        return if taken { Ok(()) } else { Err(unsupported_target(policy, None)) };
    }
    let kind = assignments::target_kind(row, target)
        .ok_or_else(|| Broken::new("shape", "The target has an unknown type"))?;
    if !row.targets.contains(&kind) || (takes_groups_only(policy) && is_broad(kind)) {
        return Err(unsupported_target(policy, Some(kind)));
    }
    if !is_broad(kind) {
        let id = target.get("groupId").and_then(Value::as_str).unwrap_or_default();
        let everybody = assignments::is_managed_app(row) && id == ALL_USERS_PSEUDO_GROUP;
        if !everybody {
            check_group(tenant, id)?;
        }
    }
    if row.key == "termsAndConditions" && target.keys().any(|name| name != "@odata.type" && name != "groupId")
    {
        return Err(Broken::new("shape", "The target may carry a group only"));
    }
    check_filter(tenant, policy, kind, target)?;
    let has_settings = item.get("settings").is_some_and(|settings| !settings.is_null());
    if kind == TargetKind::ExclusionGroup && has_settings {
        let sentence = "Exclusion assignment does not support MobileAppAssignment Settings.";
        return Err(Broken::new("settings_on_exclusion", sentence));
    }
    Ok(())
}

/// Whether the id is that of a group that exists.
///
/// # Errors
/// With the rule that it breaks.
pub fn check_group(tenant: &Tenant, id: &str) -> Result<(), Broken> {
    if Uuid::try_parse(id).is_err() {
        let sentence = format!("Invalid GroupId : {id} provided, a valid AADGroupId is expected.");
        return Err(Broken::new("group_id", sentence));
    }
    if !tenant.groups.contains_key(&id.to_lowercase()) {
        return Err(Broken::new("unknown_group", format!("The group {id} does not exist in the directory.")));
    }
    Ok(())
}

fn check_filter(
    tenant: &Tenant,
    policy: &Policy,
    kind: TargetKind,
    target: &Map<String, Value>,
) -> Result<(), Broken> {
    let row = policy.row;
    let filter = target.get(FILTER_ID).and_then(Value::as_str).filter(|id| *id != ZERO_ID && !id.is_empty());
    let mode = target.get(FILTER_TYPE).and_then(Value::as_str).unwrap_or("none");
    let id = match (filter, mode) {
        (None, "none") => return Ok(()),
        (Some(id), "include" | "exclude") => id,
        _ => return Err(Broken::new("shape", "The filter and its type do not fit together")),
    };
    if kind == TargetKind::ExclusionGroup {
        let sentence = "Assignment filters are not supported on exclusions";
        return Err(Broken::new("filter_on_exclusion", sentence));
    }
    if row.filters == Filters::No || takes_groups_only(policy) || is_edge(policy) {
        let sentence = "Assignment filters are not supported for this policy";
        return Err(Broken::new("filter_not_accepted", sentence));
    }
    let Some(filter) = tenant.filters.iter().find(|filter| filter.id.eq_ignore_ascii_case(id)) else {
        return Err(Broken::new("unknown_filter", format!("Assignment filter {id} was not found")));
    };
    let wanted = managed_by(row);
    if filter.body["assignmentFilterManagementType"] != wanted {
        let sentence = format!("Assignment filter {id} cannot be used: a filter for {wanted} is expected");
        return Err(Broken::new("filter_kind", sentence));
    }
    Ok(())
}

/// What the filters of a type look at: `apps` for app protection, `devices` for all others.
pub fn managed_by(row: &PolicyType) -> &'static str {
    if assignments::is_managed_app(row) { "apps" } else { "devices" }
}

/// The built-in Edge app refuses filters.
pub fn is_edge(policy: &Policy) -> bool {
    policy.body.get("@odata.type").is_some_and(|name| name == "#microsoft.graph.windowsMicrosoftEdgeApp")
}

/// Device preparation, a template of the settings catalogue, takes plain groups and nothing else.
pub fn takes_groups_only(policy: &Policy) -> bool {
    policy.body.get("templateReference").is_some_and(|it| it["templateFamily"] == "enrollmentConfiguration")
}

fn is_broad(kind: TargetKind) -> bool {
    matches!(kind, TargetKind::AllUsers | TargetKind::AllDevices)
}

fn unsupported_target(policy: &Policy, kind: Option<TargetKind>) -> Broken {
    let broad = kind.is_some_and(is_broad);
    let rule = match policy.row.key {
        "autopilotProfile" if kind == Some(TargetKind::AllUsers) => "all_users_on_autopilot",
        _ if broad && assignments::is_managed_app(policy.row) => "broad_target_on_app_protection",
        _ => "target_not_accepted",
    };
    Broken::new(rule, "The target is not supported for this policy")
}
