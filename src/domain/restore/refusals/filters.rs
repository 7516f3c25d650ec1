//! Filters that a policy does not take.
//!
//! Where nobody knows, nothing is refused: a type whose schema alone has the fields, an object or a filter whose
//! platform Graph did not say.

use super::{Subject, refuse};
use crate::domain::assignment::Assignment;
use crate::domain::policy_types::{Filters, PolicyType};

pub(super) fn on_exclusion(_: &Subject<'_>, item: &Assignment) -> Option<String> {
    refuse(item.target.is_exclusion() && item.filter.is_some(), || {
        "an exclusion takes no filter: remove it".to_owned()
    })
}

pub(super) fn not_taken(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let facts = &subject.live.facts;
    let template =
        facts.template_family.as_deref().is_some_and(|family| family.starts_with("endpointSecurity"));
    // Some of these templates take filters and some do not. What was read from this directory has been taken.
    let proven = subject.same_directory || subject.live.assignments.iter().any(|it| it.filter.is_some());
    let refused = subject.row.filters == Filters::No || facts.refuses_filters() || (template && !proven);
    refuse(item.filter.is_some() && refused, || {
        let what =
            if subject.row.filters == Filters::No { subject.row.label } else { "policies of this kind" };
        format!("{what} take no filters: without it more would be reached, so assign by groups")
    })
}

/// A filter is made for one platform, and for devices or for managed apps.
pub(super) fn for_others(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let filter = subject.filters.get(&item.filter.as_ref()?.id)?;
    let managed = if subject.row.is_managed_app() { "apps" } else { "devices" };
    if filter.management_type.as_deref().is_some_and(|own| !own.eq_ignore_ascii_case(managed)) {
        return Some(format!(
            "the filter is not for managed {managed}, which the policy is for: use another one"
        ));
    }
    let own = filter.platform.as_deref().and_then(Platform::of_name)?;
    let policys = Platform::of_policy(subject.row, subject.live.facts.odata_type.as_deref())?;
    refuse(own != policys, || {
        format!("the filter is for {own:?} and the policy for {policys:?}: use a filter for {policys:?}")
    })
}

/// A family of platforms: filters know more of them, policies fewer, and only families plainly clash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Platform {
    Android,
    Ios,
    MacOs,
    Windows,
}

impl Platform {
    /// Of a filter (`windows10AndLater`, `iOSMobileApplicationManagement`), or of a type's name behind its namespace.
    fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let known = [
            ("android", Self::Android),
            ("aosp", Self::Android),
            ("ios", Self::Ios),
            ("ipad", Self::Ios),
            ("macos", Self::MacOs),
            ("windows", Self::Windows),
            ("win32", Self::Windows),
            ("winget", Self::Windows),
        ];
        known.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, platform)| platform)
    }

    fn of_policy(row: &PolicyType, odata_type: Option<&str>) -> Option<Self> {
        let name = odata_type.map(|it| it.trim_start_matches('#').trim_start_matches("microsoft.graph."));
        name.and_then(Self::of_name).or(match row.key {
            "deviceShellScript" | "deviceCustomAttributeShellScript" => Some(Self::MacOs),
            "deviceManagementScript" | "deviceHealthScript" => Some(Self::Windows),
            key => Self::of_name(key),
        })
    }
}
