//! Chance with a seed: what it makes once it makes again.

use atlasd::domain::policy_types::{Filters, PolicyType, Read, TargetKind};
use serde_json::{Value, json};

use super::filtered;

/// SplitMix64.
pub struct Chance(u64);

/// What assignments may refer to.
pub struct Directory {
    pub groups: Vec<String>,
    /// Groups of assignments that policy sets bring, and no others.
    pub inherited: Vec<String>,
    pub device_filters: Vec<String>,
    pub app_filters: Vec<String>,
}

impl Chance {
    /// The seed of `ATLASD_PROOF_SEED`, else `seed`; printed, so that a failure can be seen again.
    pub fn new(seed: u64) -> Self {
        let wanted = std::env::var("ATLASD_PROOF_SEED").ok();
        let seed = wanted.map_or(seed, |text| text.parse().expect("ATLASD_PROOF_SEED is a number"));
        println!("ATLASD_PROOF_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn some_of(&mut self, choices: &[String], most: usize) -> Vec<String> {
        let start = self.below(choices.len());
        let count = self.below(most + 1);
        (0..count).map(|at| choices[(start + at) % choices.len()].clone()).collect()
    }

    /// Any set that the type takes, in Graph's form. Sometimes a group that does not exist is in it.
    pub fn set(&mut self, row: &PolicyType, directory: &Directory) -> Vec<Value> {
        if row.read == Read::Object {
            return vec![self.role_scope(directory)];
        }
        let mut items = Vec::new();
        for group in self.some_of(&directory.groups, 4) {
            let kinds: Vec<_> = row.targets.iter().filter(|kind| !is_broad(**kind)).collect();
            let kind = **self.one_of(&kinds);
            items.push(self.item(row, directory, kind, Some(&group)));
            if row.key == "mobileApp" && self.once_in(3) {
                let second = self.item(row, directory, kind, Some(&group));
                if items.last().is_some_and(|first| first["intent"] != second["intent"]) {
                    items.push(second);
                }
            }
        }
        for kind in row.targets.iter().filter(|kind| is_broad(**kind)) {
            if self.once_in(4) {
                items.push(self.item(row, directory, *kind, None));
            }
        }
        if self.once_in(40) {
            let group = "0dead000-0000-4000-8000-00000000beef";
            let kind = *row.targets.iter().find(|kind| !is_broad(**kind)).expect("all types take groups");
            items.push(self.item(row, directory, kind, Some(group)));
        }
        if row.targets.contains(&TargetKind::Group) && self.once_in(6) {
            let group = self.one_of(&directory.inherited).clone();
            let mut item = self.item(row, directory, TargetKind::Group, Some(&group));
            item["source"] = "policySets".into();
            items.push(item);
        }
        items
    }

    fn item(
        &mut self,
        row: &PolicyType,
        directory: &Directory,
        kind: TargetKind,
        group: Option<&str>,
    ) -> Value {
        let name = match kind {
            TargetKind::Group => "groupAssignmentTarget",
            TargetKind::ExclusionGroup => "exclusionGroupAssignmentTarget",
            TargetKind::AllUsers => "allLicensedUsersAssignmentTarget",
            TargetKind::AllDevices => "allDevicesAssignmentTarget",
            TargetKind::CloudPcGroup => "cloudPcManagementGroupAssignmentTarget",
            TargetKind::OfficeGroup => "officeConfigurationGroupAssignmentTarget",
        };
        let mut item = json!({"target": {"@odata.type": format!("#microsoft.graph.{name}")}});
        if let Some(group) = group {
            // Ids are compared without regard to case.
            item["target"]["groupId"] =
                if self.once_in(5) { group.to_uppercase().into() } else { group.into() };
        }
        let excluded = kind == TargetKind::ExclusionGroup;
        if row.filters != Filters::No && !excluded && self.once_in(3) {
            let filters =
                if row.is_managed_app() { &directory.app_filters } else { &directory.device_filters };
            let filter = self.one_of(filters).clone();
            let mode = *self.one_of(&["include", "exclude"]);
            item = filtered(item, &filter, mode);
        }
        if kind == TargetKind::CloudPcGroup && row.key == "cloudPcProvisioningPolicy" && self.once_in(2) {
            item["target"]["servicePlanId"] = "dbb3e6d1-54e3-4ca6-b3ff-2ac1d1a2a3b4".into();
            item["target"]["allotmentDisplayName"] = "Shift".into();
            item["target"]["allotmentLicensesCount"] = (1 + self.below(9)).into();
        }
        self.extras(row, excluded, &mut item);
        item
    }

    fn extras(&mut self, row: &PolicyType, excluded: bool, item: &mut Value) {
        for property in row.kept {
            item[*property] = match (row.key, *property) {
                ("mobileApp", "intent") => (*self.one_of(&["required", "available", "uninstall"])).into(),
                ("mobileApp", "settings") if excluded || self.once_in(2) => Value::Null,
                ("mobileApp", _) => json!({
                    "@odata.type": "#microsoft.graph.win32LobAppAssignmentSettings",
                    "notifications": self.one_of(&["showAll", "hideAll"]),
                    "restartSettings": null,
                    "installTimeSettings": {"useLocalTime": self.once_in(2), "deadlineDateTime": null},
                }),
                (_, "intent") => (*self.one_of(&["apply", "remove"])).into(),
                (_, "installIntent") => (*self.one_of(&["required", "available"])).into(),
                (_, "runRemediationScript") => self.once_in(2).into(),
                (_, "runSchedule") if self.once_in(2) => Value::Null,
                _ => json!({
                    "@odata.type": "#microsoft.graph.deviceHealthScriptDailySchedule",
                    "interval": 1 + self.below(5), "useUtc": false, "time": "11:58:36.2550000",
                }),
            };
        }
    }

    fn role_scope(&mut self, directory: &Directory) -> Value {
        let kinds = ["resourceScope", "allDevices", "allLicensedUsers", "allDevicesAndLicensedUsers"];
        json!({
            "members": self.some_of(&directory.groups, 3),
            "resourceScopes": self.some_of(&directory.groups, 2),
            "scopeType": self.one_of(&kinds),
        })
    }
}

fn is_broad(kind: TargetKind) -> bool {
    matches!(kind, TargetKind::AllUsers | TargetKind::AllDevices)
}
