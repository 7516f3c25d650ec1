use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::assignment::{ALL_DEVICES_GROUP, ALL_USERS_GROUP, FilterMode::Include};
use crate::domain::policy_types::{Filters, TABLE, TargetKind};
use crate::domain::restore::samples::*;

/// Asks about a policy of `key` with `facts` that shall have `wanted`; the snapshot is of this directory.
fn asked(key: &str, facts: PolicyFacts, wanted: &AssignmentSet) -> Option<Failure> {
    let filters = FILTERS.iter().map(|id| ((*id).to_owned(), FilterFacts::default())).collect();
    ask(&Question { key, facts, wanted, filters, named: true, same_directory: true })
}

struct Question<'a> {
    key: &'a str,
    facts: PolicyFacts,
    wanted: &'a AssignmentSet,
    filters: BTreeMap<String, FilterFacts>,
    named: bool,
    same_directory: bool,
}

fn ask(question: &Question<'_>) -> Option<Failure> {
    let live = LivePolicy { facts: question.facts.clone(), ..live(&AssignmentSet::default()) };
    refusal(&Subject {
        row: row(question.key),
        named: question.named,
        live: &live,
        wanted: question.wanted,
        filters: &question.filters,
        same_directory: question.same_directory,
    })
}

fn refused(key: &str, wanted: Assignment) -> bool {
    let failure = asked(key, PolicyFacts::default(), &set([wanted]));
    failure.is_some_and(|failure| failure.code == Code::AssignmentsTargetUnsupported)
}

/// The reason that a policy with `facts` is refused for.
fn reason(key: &str, facts: PolicyFacts, wanted: Assignment) -> String {
    asked(key, facts, &set([wanted]))
        .map_or_else(|| "taken".to_owned(), |failure| failure.message().to_owned())
}

#[test]
fn each_type_takes_its_targets_and_no_others() {
    let targets = [
        (TargetKind::Group, group(0)),
        (TargetKind::ExclusionGroup, excluded(0)),
        (TargetKind::AllUsers, Target::AllUsers),
        (TargetKind::AllDevices, Target::AllDevices),
        (TargetKind::CloudPcGroup, cloud_pc(0, None)),
        (TargetKind::OfficeGroup, Target::OfficeGroup { group_id: GROUPS[0].to_owned() }),
    ];
    for row in TABLE {
        for (kind, target) in &targets {
            let wanted = plain(target.clone());
            assert_eq!(refused(row.key, wanted), !row.targets.contains(kind), "{} {kind:?}", row.key);
        }
        let collection = plain(Target::ConfigurationManagerCollection { collection_id: "SMS1".to_owned() });
        let devices = row.targets.contains(&TargetKind::AllDevices);
        assert_eq!(refused(row.key, collection), !devices, "{}", row.key);
        assert_eq!(
            refused(row.key, plain(role(&[0], "allDevices"))),
            row.key != "roleAssignment",
            "{}",
            row.key
        );
    }
}

#[test]
fn each_type_takes_filters_or_refuses_them() {
    for row in writable().filter(|row| row.targets.contains(&TargetKind::Group)) {
        let wanted = filtered(group(0), 0, Include);
        assert_eq!(refused(row.key, wanted), row.filters == Filters::No, "{}", row.key);
        let on_exclusion = filtered(excluded(0), 0, Include);
        assert!(refused(row.key, on_exclusion), "{}", row.key);
    }
}

#[test]
fn types_without_assignments_are_never_written() {
    for row in TABLE.iter().filter(|row| row.write == Write::Nothing) {
        assert!(asked(row.key, PolicyFacts::default(), &set([])).is_some(), "{}", row.key);
    }
}

#[test]
fn rights_and_cloud_pcs_are_restored_by_name_alone() {
    let opt_in = ["roleScopeTag", "roleAssignment", "cloudPcProvisioningPolicy", "cloudPcUserSetting"];
    for row in writable() {
        let wanted = match row.targets.first() {
            None => set([plain(role(&[0], "resourceScope"))]),
            Some(TargetKind::CloudPcGroup) => set([plain(cloud_pc(0, None))]),
            Some(TargetKind::OfficeGroup) => {
                set([plain(Target::OfficeGroup { group_id: GROUPS[0].to_owned() })])
            }
            Some(_) => set([plain(group(0))]),
        };
        let asked = |named| {
            let facts = PolicyFacts::default();
            ask(&Question {
                key: row.key,
                facts,
                wanted: &wanted,
                filters: BTreeMap::new(),
                named,
                same_directory: true,
            })
        };
        assert_eq!(asked(false).is_some(), opt_in.contains(&row.key), "{}", row.key);
        assert_eq!(asked(true), None, "{}", row.key);
        assert!(asked(false).is_none_or(|failure| failure.message().contains("policy_ids")), "{}", row.key);
    }
}

#[test]
fn what_a_policy_is_decides_whether_it_is_written() {
    let none = PolicyFacts::default;
    let publishing = |state: &str| PolicyFacts { publishing_state: Some(state.to_owned()), ..none() };
    let priority = |priority| PolicyFacts { priority: Some(priority), ..none() };
    let default_profile = |is| PolicyFacts { is_default_profile: Some(is), ..none() };
    let global = |is| PolicyFacts { is_global_script: Some(is), ..none() };
    let cases = [
        ("mobileApp", publishing("notPublished"), "not published"),
        ("mobileApp", publishing("processing"), "not published"),
        ("mobileApp", publishing("published"), "taken"),
        ("enrollmentLimit", priority(0), "priority 0"),
        ("windowsHelloForBusiness", priority(0), "priority 0"),
        ("enrollmentStatusPage", priority(1), "taken"),
        ("appleUserInitiatedEnrollmentProfile", priority(0), "taken"),
        ("intuneBrandingProfile", default_profile(true), "default branding"),
        ("intuneBrandingProfile", default_profile(false), "taken"),
        ("deviceHealthScript", global(true), "Microsoft's own"),
        ("deviceHealthScript", global(false), "taken"),
    ];
    for (key, facts, expected) in cases {
        let found = reason(key, facts.clone(), plain(group(0)));
        assert!(found.contains(expected), "{key} {facts:?}: {found}");
    }
    let enrolment = writable().filter(|row| row.list_path.ends_with("/deviceEnrollmentConfigurations"));
    assert_eq!(enrolment.filter(|row| asked(row.key, priority(0), &set([])).is_some()).count(), 7);
}

#[test]
fn everybody_is_a_group_for_app_protection_alone() {
    for row in writable().filter(|row| row.targets.contains(&TargetKind::Group)) {
        let users = plain(named_group(ALL_USERS_GROUP));
        assert_eq!(refused(row.key, users), !row.is_managed_app(), "{}", row.key);
        assert!(refused(row.key, plain(named_group(ALL_DEVICES_GROUP))), "{}", row.key);
        let out = Target::ExclusionGroup { group_id: ALL_USERS_GROUP.to_owned() };
        assert!(refused(row.key, plain(out)), "{}", row.key);
    }
    assert_eq!(TABLE.iter().filter(|row| row.is_managed_app()).count(), 6);
    let found = reason("iosManagedAppProtection", PolicyFacts::default(), plain(Target::AllUsers));
    assert!(found.contains("pseudo group"), "{found}");
    let found = reason("autopilotProfile", PolicyFacts::default(), plain(Target::AllUsers));
    assert!(found.contains("all users") && found.contains("name groups"), "{found}");
}

#[test]
fn a_group_id_is_a_guid() {
    for wrong in
        ["no id", "a_b", "0f0f0f0f00004000800000000000000a", "0f0f0f0f-0000-4000-8000-00000000000a_incl"]
    {
        assert!(refused("compliancePolicy", plain(named_group(wrong))), "{wrong}");
    }
    let members = std::collections::BTreeSet::from(["x".to_owned()]);
    let scope = Target::RoleScope { members, resource_scopes: Default::default(), scope_type: None };
    assert!(refused("roleAssignment", plain(scope)));
}

#[test]
fn an_exclusion_takes_no_app_settings() {
    let with_settings = |target| Assignment {
        extras: BTreeMap::from([("settings".to_owned(), json!({"notifications": "showAll"}))]),
        ..intended(target, "required")
    };
    assert!(refused("mobileApp", with_settings(excluded(0))));
    assert!(!refused("mobileApp", with_settings(group(0))));
}

#[test]
fn what_the_type_does_not_have_is_not_sent() {
    assert!(refused("compliancePolicy", intended(group(0), "required")));
    let mut scheduled = plain(group(0));
    scheduled.extras.insert("runSchedule".to_owned(), json!({"interval": 1}));
    assert!(!refused("deviceHealthScript", scheduled.clone()));
    assert!(refused("deviceComplianceScript", scheduled));
}

#[test]
fn some_objects_take_no_filters_although_their_type_does() {
    let filter = || filtered(group(0), 0, Include);
    let app = |name: &str| PolicyFacts {
        odata_type: Some(format!("#microsoft.graph.{name}")),
        ..PolicyFacts::default()
    };
    let app_filter = || Assignment { intent: Some("required".to_owned()), ..filter() };
    assert!(reason("mobileApp", app("windowsMicrosoftEdgeApp"), app_filter()).contains("no filters"));
    assert_eq!(reason("mobileApp", app("win32LobApp"), app_filter()), "taken");
    let template =
        |family: &str| PolicyFacts { template_family: Some(family.to_owned()), ..PolicyFacts::default() };
    let preparation = || template("enrollmentConfiguration");
    for wrong in [filter(), plain(excluded(0)), plain(Target::AllUsers), plain(Target::AllDevices)] {
        assert!(reason("configurationPolicy", preparation(), wrong).contains("groups only"));
    }
    assert_eq!(reason("configurationPolicy", preparation(), plain(group(0))), "taken");
    assert_eq!(reason("configurationPolicy", template("none"), filter()), "taken");
}

#[test]
fn an_endpoint_security_template_takes_a_filter_that_it_has_had() {
    let facts = PolicyFacts {
        template_family: Some("endpointSecurityFirewall".to_owned()),
        ..PolicyFacts::default()
    };
    let wanted = set([filtered(group(0), 0, Include)]);
    let asked = |had: &AssignmentSet, same_directory| {
        let live = LivePolicy { facts: facts.clone(), ..live(had) };
        let (row, filters) = (row("configurationPolicy"), BTreeMap::new());
        refusal(&Subject {
            row,
            named: false,
            live: &live,
            wanted: &wanted,
            filters: &filters,
            same_directory,
        })
    };
    assert!(asked(&set([plain(group(0))]), false).is_some());
    assert!(asked(&set([plain(group(0))]), true).is_none(), "the snapshot was read from it");
    assert!(asked(&set([filtered(group(1), 1, Include)]), false).is_none(), "it has one now");
}

#[test]
fn a_filter_that_plainly_is_for_others_is_refused() {
    let cases = [
        ("compliancePolicy", "iosCompliancePolicy", "iOS", "devices", true),
        ("compliancePolicy", "iosCompliancePolicy", "windows10AndLater", "devices", false),
        ("compliancePolicy", "androidWorkProfileCompliancePolicy", "androidForWork", "devices", true),
        ("compliancePolicy", "aospDeviceOwnerCompliancePolicy", "androidAOSP", "devices", true),
        ("compliancePolicy", "windows10CompliancePolicy", "windows81AndLater", "devices", true),
        ("compliancePolicy", "macOSCompliancePolicy", "iOS", "devices", false),
        ("compliancePolicy", "somethingNew", "iOS", "devices", true),
        ("compliancePolicy", "windows10CompliancePolicy", "somethingNew", "devices", true),
        ("mobileApp", "winGetApp", "macOS", "devices", false),
        ("mobileApp", "win32LobApp", "windows10AndLater", "devices", true),
        ("mobileApp", "webApp", "macOS", "devices", true),
        ("mobileApp", "iosStoreApp", "iOSMobileApplicationManagement", "apps", false),
        (
            "iosManagedAppProtection",
            "iosManagedAppProtection",
            "iOSMobileApplicationManagement",
            "apps",
            true,
        ),
        (
            "iosManagedAppProtection",
            "iosManagedAppProtection",
            "androidMobileApplicationManagement",
            "apps",
            false,
        ),
        ("iosManagedAppProtection", "iosManagedAppProtection", "iOS", "devices", false),
        (
            "targetedManagedAppConfiguration",
            "targetedManagedAppConfiguration",
            "iOSMobileApplicationManagement",
            "apps",
            true,
        ),
        ("deviceShellScript", "deviceShellScript", "windows10AndLater", "devices", false),
        ("deviceHealthScript", "deviceHealthScript", "windows10AndLater", "devices", true),
        ("windowsFeatureUpdateProfile", "x", "macOS", "devices", false),
    ];
    for (key, odata_type, platform, management, taken) in cases {
        let filter =
            FilterFacts { platform: Some(platform.to_owned()), management_type: Some(management.to_owned()) };
        let question = Question {
            key,
            facts: PolicyFacts {
                odata_type: Some(format!("#microsoft.graph.{odata_type}")),
                ..PolicyFacts::default()
            },
            wanted: &set([filtered(group(0), 0, Include)]),
            filters: BTreeMap::from([(FILTERS[0].to_owned(), filter)]),
            named: false,
            same_directory: true,
        };
        assert_eq!(ask(&question).is_none(), taken, "{key} {odata_type} {platform} {management}");
        let unknown = Question {
            filters: BTreeMap::from([(FILTERS[0].to_owned(), FilterFacts::default())]),
            ..question
        };
        assert_eq!(ask(&unknown), None, "where Graph did not say, nothing is refused: {key}");
    }
}

#[test]
fn a_collection_of_another_directory_means_nothing_here() {
    let wanted = set([plain(Target::ConfigurationManagerCollection { collection_id: "SMS1".to_owned() })]);
    let asked = |same_directory| {
        let facts = PolicyFacts::default();
        let question = Question {
            key: "deviceConfiguration",
            facts,
            wanted: &wanted,
            filters: BTreeMap::new(),
            named: false,
            same_directory,
        };
        ask(&question).is_some()
    };
    assert_eq!((asked(true), asked(false)), (false, true));
}

#[test]
fn one_place_has_one_assignment() {
    let twice = |a, b| asked("mobileApp", PolicyFacts::default(), &set([a, b])).is_some();
    let filter = || Assignment { intent: Some("required".to_owned()), ..filtered(group(0), 0, Include) };
    assert!(twice(intended(group(0), "required"), filter()));
    assert!(!twice(intended(group(0), "available"), filter()));
    assert!(!twice(intended(group(1), "required"), filter()));
}

#[test]
fn a_role_has_one_set_of_members() {
    let facts = PolicyFacts::default;
    assert!(asked("roleAssignment", facts(), &set([])).is_some(), "there is no empty one");
    let two = set([plain(role(&[0], "allDevices")), plain(role(&[1], "allDevices"))]);
    assert!(asked("roleAssignment", facts(), &two).is_some());
    assert!(asked("roleAssignment", facts(), &set([plain(role(&[], "allDevices"))])).is_none());
}

#[test]
fn what_cannot_be_deleted_stops_the_policy() {
    let mut live = live(&set([plain(group(0))]));
    live.ids.clear();
    let (filters, wanted) = (BTreeMap::new(), set([plain(group(1))]));
    let subject = Subject {
        row: row("autopilotProfile"),
        named: false,
        live: &live,
        wanted: &wanted,
        filters: &filters,
        same_directory: true,
    };
    assert_eq!(refusal(&subject).map(|failure| failure.code), Some(Code::AssignmentsReadIncomplete));
    assert_eq!(refusal(&Subject { row: row("compliancePolicy"), ..subject }), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_a_type_takes_is_not_refused((row, [had, wanted]) in row_with_sets::<2>(), same_directory: bool) {
        let live = live(&had);
        let filters = BTreeMap::new();
        let subject = Subject { row, named: true, live: &live, wanted: &wanted, filters: &filters, same_directory };
        prop_assert_eq!(refusal(&subject), None);
    }

}

proptest! {
    // Few, because each message passes the sanitiser.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_reason_is_one_safe_line_that_says_what_to_do(wanted in any_set(), named: bool) {
        for row in TABLE {
            let live = live(&AssignmentSet::default());
            let filters = BTreeMap::new();
            let subject = Subject { row, named, live: &live, wanted: &wanted, filters: &filters, same_directory: false };
            let Some(failure) = refusal(&subject) else { continue };
            let message = failure.message();
            prop_assert!(message.contains(':') || message.contains("takes no assignments") || message.contains(", the snapshot has"), "{message}");
            prop_assert!(!message.contains("redacted") && !message.ends_with(['.', '…']), "{message}");
        }
    }
}
