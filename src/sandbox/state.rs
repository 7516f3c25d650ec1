//! The world: tenants and what they hold, as of now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::config::{SandboxConfig, TenantSpec};
use super::edits::Schedule;
use super::faults::Faults;
use super::gates::{Gates, Hold};
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
    /// How long reads still give what was before a write.
    pub read_delay: ReadDelay,
    /// Where calls are held.
    pub gates: Gates,
    /// The edits that wait for their moment.
    pub schedule: Schedule,
    /// Those that hold the call that is being answered; taken when it is.
    pub holds: Vec<Hold>,
    /// The nextLinks that were followed, where each may be followed once.
    pub followed: BTreeSet<String>,
}

/// How long reads still give what was before a write: so many reads, and so long. Both may be zero; the longer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadDelay {
    /// Reads of the policy.
    pub reads: u32,
    /// Milliseconds.
    pub millis: u64,
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
    /// Whether every write needs an approval.
    pub needs_approval: bool,
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
    /// As it was before the last change that is seen by now.
    pub previous: Option<Seen>,
    /// How many reads will still give that.
    pub stale_reads: u32,
    /// Until when reads will still give that.
    pub stale_until: Option<Instant>,
    /// Whether a write has changed it.
    pub written: bool,
    /// Whether a write needs an approval.
    pub needs_approval: bool,
}

/// What a read shows of a policy.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its own properties.
    pub body: Map<String, Value>,
    /// Its assignments.
    pub assignments: Vec<Value>,
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
            read_delay: ReadDelay { reads: config.stale_reads, millis: 0 },
            gates: Gates::default(),
            schedule: Schedule::default(),
            holds: Vec::new(),
            followed: BTreeSet::new(),
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
    /// A policy without assignments.
    pub fn new(row: &'static PolicyType, id: String, body: Map<String, Value>) -> Self {
        let (previous, stale_until) = (None, None);
        let assignments = Vec::new();
        Self {
            row,
            id,
            body,
            assignments,
            previous,
            stale_reads: 0,
            stale_until,
            written: false,
            needs_approval: false,
        }
    }

    /// Replaces the assignments.
    pub fn set_assignments(&mut self, assignments: Vec<Value>, now: Instant) {
        self.remember(now);
        self.assignments = assignments;
    }

    /// Replaces the object's own properties.
    pub fn set_body(&mut self, body: Map<String, Value>, now: Instant) {
        self.remember(now);
        self.body = body;
    }

    fn remember(&mut self, now: Instant) {
        // While reads are old they stay as old as they were: a second write makes nothing visible.
        if !self.is_stale(now) || self.previous.is_none() {
            let (body, assignments) = (self.body.clone(), self.assignments.clone());
            self.previous = Some(Seen { body, assignments });
        }
    }

    /// Makes the coming reads old.
    pub fn delay_reads(&mut self, delay: ReadDelay, now: Instant) {
        self.written = true;
        self.stale_reads = delay.reads;
        self.stale_until = (delay.millis > 0).then(|| now + Duration::from_millis(delay.millis));
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.stale_reads > 0 || self.stale_until.is_some_and(|until| now < until)
    }

    /// What a read at `now` sees.
    pub fn seen(&self, now: Instant, always_old: bool) -> Seen {
        let (body, assignments) = match &self.previous {
            Some(previous) if always_old || self.is_stale(now) => (&previous.body, &previous.assignments),
            _ => (&self.body, &self.assignments),
        };
        Seen { body: object(self.row, body, assignments), assignments: assignments.clone() }
    }

    /// Counts a read that came to its end: one old read less is to come.
    pub fn was_read(&mut self) {
        self.stale_reads = self.stale_reads.saturating_sub(1);
    }

    /// The object as Graph gives it, `isAssigned` included where the type has it.
    pub fn object(&self) -> Map<String, Value> {
        object(self.row, &self.body, &self.assignments)
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

fn object(row: &PolicyType, body: &Map<String, Value>, assignments: &[Value]) -> Map<String, Value> {
    let mut object = body.clone();
    if has_is_assigned(row) {
        object.insert("isAssigned".to_owned(), json!(!assignments.is_empty()));
    }
    object
}

fn has_is_assigned(row: &PolicyType) -> bool {
    let managed_app = matches!(row.throttle_family, "intune-managed-applications");
    managed_app || matches!(row.key, "configurationPolicy" | "mobileApp" | "intent")
}

/// The rows of the catalogue that share a list.
pub fn rows_of(list_path: &str) -> impl Iterator<Item = &'static PolicyType> {
    policy_types::TABLE.iter().filter(move |row| row.list_path == list_path)
}
