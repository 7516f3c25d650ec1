//! The policies that a tenant is seeded with: their objects, in the order in which lists give them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::{CANARY_PASSWORD, CANARY_USER};
use super::seed::Origin;
use super::shapes;
use super::state::Policy;
use crate::domain::policy_types::{Discriminator, PolicyType};

/// The ids that assignments may refer to.
#[derive(Debug)]
pub struct Directory {
    /// Groups that exist.
    pub group_ids: Vec<String>,
    /// Filters: six for devices, then two for apps.
    pub filter_ids: Vec<String>,
}

/// All policies of a tenant, by list path; types that share a list take turns in it.
pub fn seeded(
    origin: &Origin,
    counts: &[(&'static PolicyType, usize)],
    directory: &Directory,
) -> BTreeMap<&'static str, Vec<Policy>> {
    let mut ordinal = 0;
    let mut lists: BTreeMap<&'static str, Vec<(usize, Policy)>> = BTreeMap::new();
    for (row, count) in counts {
        for index in 0..*count {
            let policy = policy(origin, row, index, ordinal, directory);
            lists.entry(row.list_path).or_default().push((index, policy));
            ordinal += 1;
        }
    }
    let in_turns = |mut list: Vec<(usize, Policy)>| {
        list.sort_by_key(|(index, _)| *index);
        list.into_iter().map(|(_, policy)| policy).collect()
    };
    lists.into_iter().map(|(path, list)| (path, in_turns(list))).collect()
}

/// A policy that an administrator has just made: the `index`-th of its type, without assignments.
pub fn made_by_hand(origin: &Origin, row: &'static PolicyType, index: usize, name: Option<&str>) -> Policy {
    let mut policy = bare(&origin.at("by-hand"), row, index.max(1));
    if let Some(name) = name {
        policy.body.insert(row.name_property.to_owned(), name.into());
    }
    policy
}

/// A policy of an exported snapshot: the `index`-th of its type in the file, without assignments.
pub fn exported(origin: &Origin, row: &'static PolicyType, index: usize, id: &str, name: &str) -> Policy {
    let mut policy = bare(&origin.at("exported"), row, index);
    let mut put = |property: &str, value: Value| policy.body.insert(property.to_owned(), value);
    put("id", id.into());
    put(row.name_property, name.into());
    // What the made-up properties say about special policies does not hold for this one.
    match row.key {
        "mobileApp" => {
            put("@odata.type", "#microsoft.graph.officeSuiteApp".into());
            put("publishingState", "published".into());
        }
        "configurationPolicy" => {
            put("templateReference", json!({"templateId": "", "templateFamily": "none"}));
        }
        "intuneBrandingProfile" => {
            put("isDefaultProfile", false.into());
        }
        "deviceHealthScript" => {
            put("isGlobalScript", false.into());
        }
        "roleAssignment" => {
            put("members", json!([]));
        }
        _ if row.list_path.ends_with("/deviceEnrollmentConfigurations") => {
            // The service names them so: `…_DefaultLimit`, `…_DefaultPlatformRestrictions`.
            let priority = if id.contains("_Default") { 0 } else { index + 1 };
            put("priority", priority.into());
        }
        _ => {}
    }
    policy.id = id.to_owned();
    policy
}

fn policy(
    origin: &Origin,
    row: &'static PolicyType,
    index: usize,
    ordinal: usize,
    directory: &Directory,
) -> Policy {
    let mut policy = bare(origin, row, index);
    let here = origin.at(row.key).at(index);
    if row.key == "roleAssignment" {
        policy.body.extend(role_scope(&here, index, directory));
    } else if policy.body.get("publishingState").is_none_or(|state| state == "published") {
        policy.assignments = shapes::assignments(&here, row, &policy.id, index, ordinal, directory);
    }
    policy
}

fn bare(origin: &Origin, row: &'static PolicyType, index: usize) -> Policy {
    let here = origin.at(row.key).at(index);
    let id = id(&here, row, index);
    let mut body = Map::new();
    if let Some(odata_type) = odata_type(row, index) {
        body.insert("@odata.type".to_owned(), odata_type.into());
    }
    body.insert("id".to_owned(), id.as_str().into());
    body.insert(row.name_property.to_owned(), name(&here, row, index).into());
    body.insert("description".to_owned(), format!("Questions to {CANARY_USER}").into());
    let day = 1 + here.below("day", 28);
    body.insert("createdDateTime".to_owned(), format!("2025-03-{day:02}T07:30:00.1234567Z").into());
    body.insert("lastModifiedDateTime".to_owned(), format!("2025-09-{day:02}T16:45:10.7654321Z").into());
    body.insert("roleScopeTagIds".to_owned(), json!(["0"]));
    body.extend(own_properties(row, index));
    Policy::new(row, id, body)
}

/// Ids have the forms that the service gives them.
fn id(here: &Origin, row: &PolicyType, index: usize) -> String {
    let uuid = here.uuid("id");
    match row.key {
        "iosManagedAppProtection" | "androidManagedAppProtection" | "windowsManagedAppProtection" => {
            format!("T_{uuid}")
        }
        "targetedManagedAppConfiguration" => format!("A_{uuid}"),
        "roleScopeTag" => (index + 1).to_string(),
        "enrollmentStatusPage" => format!("{uuid}_Windows10EnrollmentCompletionPageConfiguration"),
        "enrollmentPlatformRestriction" => format!("{uuid}_SinglePlatformRestriction"),
        "enrollmentLimit" => format!("{uuid}_Limit"),
        "windowsHelloForBusiness" => format!("{uuid}_WindowsHelloForBusiness"),
        "enrollmentNotification" => format!("{uuid}_EnrollmentNotificationsConfiguration"),
        "windowsRestore" => format!("{uuid}_WindowsRestore"),
        _ => uuid.to_string(),
    }
}

fn name(here: &Origin, row: &PolicyType, index: usize) -> String {
    const SCOPES: [&str; 6] = ["Corp", "BYOD", "Kiosk", "Pilot", "VIP", "Frontline"];
    const TOPICS: [&str; 8] =
        ["Baseline", "Hardening", "Wi-Fi", "Updates", "Compliance", "Browser", "Office", "Identity"];
    // Every ninth is called like the others of its kind: names are not unique.
    if index % 9 == 8 {
        return format!("Copy of {}", row.label);
    }
    format!("{} - {} {:03}", here.one_of("scope", &SCOPES), here.one_of("topic", &TOPICS), index + 1)
}

fn odata_type(row: &PolicyType, index: usize) -> Option<String> {
    let pick = |choices: &[&str]| Some(format!("#microsoft.graph.{}", choices[index % choices.len()]));
    match (row.key, row.discriminator) {
        (_, Discriminator::Only(types)) => Some(types[index % types.len()].to_owned()),
        // Items of this list carry no type.
        ("groupPolicyConfiguration", _) => None,
        ("deviceConfiguration", _) => pick(&[
            "windows10GeneralConfiguration",
            "iosGeneralDeviceConfiguration",
            "windows10CustomConfiguration",
            "macOSGeneralDeviceConfiguration",
        ]),
        ("configurationPolicy", _) => pick(&["deviceManagementConfigurationPolicy"]),
        ("compliancePolicy", _) => {
            pick(&["windows10CompliancePolicy", "iosCompliancePolicy", "androidCompliancePolicy"])
        }
        ("compliancePolicyV2", _) => pick(&["deviceManagementCompliancePolicy"]),
        ("mobileApp", _) => pick(&MOBILE_APPS),
        ("mobileAppConfiguration", _) => {
            pick(&["iosMobileAppConfiguration", "androidManagedStoreAppConfiguration"])
        }
        ("managedEBook", _) => pick(&["iosVppEBook"]),
        ("autopilotProfile", _) => pick(&["azureADWindowsAutopilotDeploymentProfile"]),
        (key, _) => pick(&[key]),
    }
}

/// The kinds of apps, in turn.
pub(super) const MOBILE_APPS: [&str; 6] =
    ["win32LobApp", "winGetApp", "iosStoreApp", "officeSuiteApp", "androidManagedStoreApp", EDGE_APP];
/// The built-in Edge app: it refuses filters.
pub(super) const EDGE_APP: &str = "windowsMicrosoftEdgeApp";

/// The template family of a settings catalogue policy.
pub(super) fn template_family(row: &PolicyType, index: usize) -> Option<&'static str> {
    const FAMILIES: [&str; 6] =
        ["none", "endpointSecurityAntivirus", "none", "baseline", "none", "enrollmentConfiguration"];
    (row.key == "configurationPolicy").then(|| FAMILIES[index % FAMILIES.len()])
}

/// Properties that a client must cope with or must not keep.
fn own_properties(row: &PolicyType, index: usize) -> Map<String, Value> {
    let properties = match row.key {
        "mobileApp" => json!({
            "publisher": "Contoso",
            "publishingState": if index % 8 == 7 { "notPublished" } else { "published" },
            "notes": CANARY_USER,
        }),
        "configurationPolicy" => json!({
            "platforms": "windows10", "technologies": "mdm", "settingCount": 12,
            "templateReference": {"templateId": "", "templateFamily": template_family(row, index)},
        }),
        "deviceConfiguration" => json!({"version": 3, "omaSettings": [
            {"@odata.type": "#microsoft.graph.omaSettingString", "displayName": "Proxy", "value": CANARY_PASSWORD},
        ]}),
        "deviceManagementScript" | "deviceShellScript" | "deviceCustomAttributeShellScript" => {
            json!({"fileName": "setup.ps1", "runAsAccount": "system", "scriptContent": CANARY_PASSWORD})
        }
        "deviceHealthScript" => json!({
            "isGlobalScript": index % 5 == 4, "publisher": CANARY_USER,
            "detectionScriptContent": CANARY_PASSWORD, "remediationScriptContent": CANARY_PASSWORD,
        }),
        "embeddedSIMActivationCodePool" => {
            json!({"activationCodes": [{"integratedCircuitCardIdentifier": "8949",
            "matchingIdentifier": CANARY_PASSWORD, "smdpPlusServerAddress": "smdp.example"}]})
        }
        "hardwareConfiguration" => {
            json!({"perDevicePasswordDisabled": false, "configurationFileContent": CANARY_PASSWORD})
        }
        "intuneBrandingProfile" => {
            json!({"isDefaultProfile": index == 0, "contactITEmailAddress": CANARY_USER})
        }
        _ if row.list_path.ends_with("/deviceEnrollmentConfigurations") => json!({"priority": index}),
        _ => json!({}),
    };
    properties.as_object().cloned().unwrap_or_default()
}

fn role_scope(here: &Origin, index: usize, directory: &Directory) -> Map<String, Value> {
    let groups = &directory.group_ids;
    let group = |salt: &str| groups.get(here.below(salt, groups.len())).cloned().unwrap_or_default();
    let all = index % 3 == 1;
    let scope = json!({
        "members": [group("member-1"), group("member-2")],
        "scopeMembers": if all { json!([]) } else { json!([group("scope")]) },
        "resourceScopes": if all { json!([]) } else { json!([group("scope")]) },
        "scopeType": if all { "allDevicesAndLicensedUsers" } else { "resourceScope" },
    });
    scope.as_object().cloned().unwrap_or_default()
}
