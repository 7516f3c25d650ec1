//! The world: tenants and what they hold, as of now.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::config::{SandboxConfig, TenantSpec};
use super::faults::Faults;
use super::log::RequestLog;
use super::seed;
use super::throttle::Throttle;
use super::token::Tokens;
use crate::clock::Instant;
use crate::domain::policy_types::{self, PolicyType, Read};

/// Everything that the server knows; behind one lock.
#[derive(Debug)]
pub struct World {
    /// As started.
    pub config: SandboxConfig,
    /// By directory id.
    pub tenants: BTreeMap<Uuid, Tenant>,
    /// Handed out.
    pub tokens: Tokens,
    /// The limits' state.
    pub throttle: Throttle,
    /// The rules of misbehaviour.
    pub faults: Faults,
    /// What was asked.
    pub log: RequestLog,
    /// Counts requests: request ids are derived from it.
    pub serial: u64,
}

/// A directory.
#[derive(Debug)]
pub struct Tenant {
    /// As configured.
    pub spec: TenantSpec,
    /// The policies by list path, in the order in which lists give them.
    pub policies: BTreeMap<&'static str, Vec<Policy>>,
    /// By id.
    pub groups: BTreeMap<String, Group>,
    /// The assignment filters.
    pub filters: Vec<Filter>,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its row of the catalogue.
    pub row: &'static PolicyType,
    /// Its id.
    pub id: String,
    /// Its own properties, `id` included, assignments not.
    pub body: Map<String, Value>,
    /// Its assignments, as `{policy}/assignments` gives them.
    pub assignments: Vec<Value>,
    /// Those before the last change.
    pub previous: Option<Vec<Value>>,
    /// How many reads will still give those.
    pub stale_reads: u32,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name, not always unique.
    pub name: String,
}

/// An assignment filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its id.
    pub id: String,
    /// Its object.
    pub body: Value,
}

impl World {
    /// The world of a configuration.
    pub fn seeded(config: SandboxConfig) -> Self {
        let tenants =
            config.tenants.iter().map(|spec| (spec.external_id, seed::tenant(config.seed, spec))).collect();
        Self {
            tenants,
            tokens: Tokens::default(),
            throttle: Throttle::new(config.throttle.clone()),
            faults: Faults::default(),
            log: RequestLog::new(config.log_entries_max),
            serial: 0,
            config,
        }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.config.clock.now()
    }

    /// The id of the next request.
    pub fn next_request_id(&mut self) -> Uuid {
        self.serial += 1;
        seed::Origin::root(self.config.seed).at("request").at(self.serial).uuid("id")
    }
}

impl Tenant {
    /// A policy of a list.
    pub fn policy(&self, list_path: &str, id: &str) -> Option<&Policy> {
        self.policies.get(list_path)?.iter().find(|policy| policy.id == id)
    }

    /// A policy of a list, to change it.
    pub fn policy_mut(&mut self, list_path: &str, id: &str) -> Option<&mut Policy> {
        self.policies.get_mut(list_path)?.iter_mut().find(|policy| policy.id == id)
    }

    /// All policies of types whose assignments can be read.
    pub fn readable(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().flatten().filter(|policy| policy.row.read != Read::Nothing)
    }
}

impl Policy {
    /// Replaces the assignments.
    pub fn set_assignments(&mut self, assignments: Vec<Value>) {
        self.previous = Some(std::mem::replace(&mut self.assignments, assignments));
    }

    /// The assignments before the last change; the present ones when there was none.
    pub fn before(&self) -> &[Value] {
        self.previous.as_deref().unwrap_or(&self.assignments)
    }

    /// The object as Graph gives it, `isAssigned` included where the type has it.
    pub fn object(&self) -> Map<String, Value> {
        let mut object = self.body.clone();
        if has_is_assigned(self.row) {
            object.insert("isAssigned".to_owned(), json!(!self.assignments.is_empty()));
        }
        object
    }
}

impl Group {
    /// The object as Graph gives it.
    pub fn object(&self) -> Value {
        json!({
            "@odata.type": "#microsoft.graph.group",
            "id": self.id,
            "displayName": self.name,
            "description": format!("Owner: {}", super::answer::CANARY_USER),
            "groupTypes": [],
            "mailEnabled": false,
            "securityEnabled": true,
        })
    }
}

fn has_is_assigned(row: &PolicyType) -> bool {
    let managed_app = matches!(row.throttle_family, "intune-managed-applications");
    managed_app || matches!(row.key, "configurationPolicy" | "mobileApp" | "intent")
}

/// The rows of the catalogue that share a list.
pub fn rows_of(list_path: &str) -> impl Iterator<Item = &'static PolicyType> {
    policy_types::TABLE.iter().filter(move |row| row.list_path == list_path)
}
