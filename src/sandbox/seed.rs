//! What a tenant holds at the start. Everything is derived from SHA-256 over (seed, tenant, type, index): no random
//! generator's version matters, and two starts with one seed are the same byte for byte.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::config::{Policies, TenantSpec};
use super::policies;
use super::state::{Filter, Group, Tenant};

/// Groups in a tenant, besides one for every ten policies.
const GROUPS_MIN: usize = 72;
/// Groups in a tenant at the most.
const GROUPS_MAX: usize = 300;

/// A place in the world from which values are derived.
#[derive(Clone, Debug)]
pub struct Origin(String);

impl Origin {
    /// The root of a seed.
    pub fn root(seed: u64) -> Self {
        Self(format!("atlasd-sandbox/{seed}"))
    }

    /// A place below this one.
    pub fn at(&self, part: impl std::fmt::Display) -> Self {
        Self(format!("{}/{part}", self.0))
    }

    /// 32 bytes; another salt, other bytes.
    pub fn bytes(&self, salt: &str) -> [u8; 32] {
        Sha256::digest(format!("{}#{salt}", self.0)).into()
    }

    /// A number below `bound`.
    pub fn below(&self, salt: &str, bound: usize) -> usize {
        let bytes = self.bytes(salt);
        let number = u64::from_be_bytes(bytes[..8].try_into().expect("8 of 32 bytes are 8 bytes"));
        usize::try_from(number % bound.max(1) as u64).expect("it is below a usize")
    }

    /// An id in the form of a version 4 UUID.
    pub fn uuid(&self, salt: &str) -> Uuid {
        let bytes: [u8; 16] = self.bytes(salt)[..16].try_into().expect("16 of 32 bytes are 16 bytes");
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// One of `choices`.
    pub fn one_of<'a, T>(&self, salt: &str, choices: &'a [T]) -> &'a T {
        &choices[self.below(salt, choices.len())]
    }
}

/// A tenant as it is at the start.
pub fn tenant(seed: u64, spec: &TenantSpec) -> Tenant {
    if let Policies::Exported(file) = &spec.policies {
        return file.tenant(seed, spec);
    }
    let origin = Origin::root(seed).at(spec.external_id);
    let counts = spec.policies.per_type();
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let groups = groups(&origin, (GROUPS_MIN + total / 10).min(GROUPS_MAX));
    let filters = filters(&origin);
    let directory = policies::Directory {
        group_ids: groups.iter().map(|group| group.id.clone()).collect(),
        filter_ids: filters.iter().map(|filter| filter.id.clone()).collect(),
    };
    let policies = policies::seeded(&origin, &counts, &directory);
    let groups: BTreeMap<_, _> = groups.into_iter().map(|group| (group.id.clone(), group)).collect();
    Tenant { spec: spec.clone(), policies, groups, filters, needs_approval: false }
}

fn groups(origin: &Origin, count: usize) -> Vec<Group> {
    const AREAS: [&str; 12] = [
        "Sales",
        "Finance",
        "HR",
        "IT",
        "Production",
        "Logistics",
        "Legal",
        "Field Service",
        "Kiosk",
        "Pilot",
        "O'Brien Team",
        "VIP",
    ];
    const KINDS: [&str; 6] =
        ["Users", "Windows devices", "iOS devices", "Android devices", "Macs", "Contractors"];
    (0..count)
        .map(|index| {
            let here = origin.at("group").at(index);
            // Names repeat after 72: two groups of one name are a fact of life.
            let name =
                format!("{} - {}", AREAS[index % AREAS.len()], KINDS[(index / AREAS.len()) % KINDS.len()]);
            Group { id: here.uuid("id").to_string(), name }
        })
        .collect()
}

fn filters(origin: &Origin) -> Vec<Filter> {
    const FILTERS: [(&str, &str, &str, &str); 8] = [
        ("Corporate Windows", "windows10AndLater", "devices", "(device.deviceOwnership -eq \"Corporate\")"),
        ("Personal Windows", "windows10AndLater", "devices", "(device.deviceOwnership -eq \"Personal\")"),
        ("Cloud PCs", "windows10AndLater", "devices", "(device.model -startsWith \"Cloud PC\")"),
        ("Corporate iPads", "iOS", "devices", "(device.model -startsWith \"iPad\")"),
        ("Android kiosks", "androidForWork", "devices", "(device.enrollmentProfileName -eq \"Kiosk\")"),
        ("Macs of IT", "macOS", "devices", "(device.deviceCategory -eq \"IT\")"),
        (
            "Managed iOS apps",
            "iOSMobileApplicationManagement",
            "apps",
            "(app.deviceManagementType -eq \"Managed\")",
        ),
        (
            "Unmanaged Android apps",
            "androidMobileApplicationManagement",
            "apps",
            "(app.deviceManagementType -eq \"Unmanaged\")",
        ),
    ];
    FILTERS
        .iter()
        .enumerate()
        .map(|(index, (name, platform, management, rule))| {
            let id = origin.at("filter").at(index).uuid("id").to_string();
            filter(id, name, platform, management, rule)
        })
        .collect()
}

/// An assignment filter.
pub fn filter(id: String, name: &str, platform: &str, management: &str, rule: &str) -> Filter {
    let body = json!({
        "@odata.type": "#microsoft.graph.deviceAndAppManagementAssignmentFilter",
        "id": id,
        "createdDateTime": "2025-02-03T08:15:30.1234567Z",
        "lastModifiedDateTime": "2025-02-03T08:15:30.1234567Z",
        "displayName": name,
        "description": "",
        "platform": platform,
        "rule": rule,
        "roleScopeTags": ["0"],
        "payloads": [],
        "assignmentFilterManagementType": management,
    });
    Filter { id, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another implementation of SHA-256: a seed means the same for ever.
    #[test]
    fn values_follow_from_the_seed_alone() {
        let here = Origin::root(7).at("group").at(3);
        assert_eq!(here.uuid("id").to_string(), "11b0a4ea-9572-4ed7-8eda-60b291ddec24");
        assert_eq!(here.below("n", 1000), 185);
    }
}
