//! `assignments.fetch` on the wire: every readable type of the catalogue, policy by policy, with what was not read.
//!
//! Types that share a list are listed once. Where the catalogue says that `$expand=assignments` works the list carries
//! the assignments, and an empty one is confirmed; the other policies are read in batches. One type's failure never
//! stops the others. What was not read is counted in the coverage and reported, never taken for "no assignments".
//! A type whose permission the token is known to lack is refused without a call.
//!
//! It touches no database: what it reads goes through a bounded channel to whoever stores it.

mod listing;
mod progress;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use self::listing::{Group, Listing};
pub use self::progress::FetchProgress;
use self::progress::Tracker;
use super::client::GraphClient;
use super::error::GraphError;
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::FetchInputs;
use crate::domain::permissions::missing_to_read;
use crate::domain::policy_types::{self, PolicyType, Read};
use crate::store::records::{Coverage, StoredPolicy};

/// What was read of one policy type.
#[derive(Clone, Debug)]
pub struct TypeReading {
    /// The catalogue's row.
    pub policy_type: &'static PolicyType,
    /// How far the read got.
    pub coverage: Coverage,
    /// What was read completely.
    pub policies: Vec<StoredPolicy>,
    /// The ids in scope that the list named, read or not.
    pub listed: Vec<String>,
    /// What was not read, but for a type that the tenant does not offer.
    pub failures: Vec<ItemFailure>,
}

/// Something that could not be read.
#[derive(Clone, Debug)]
pub struct ItemFailure {
    /// As the ledger may show it.
    pub failure: Failure,
    /// Another attempt may help.
    pub transient: bool,
    /// What the service asked to wait before it.
    pub retry_after: Option<Duration>,
}

/// How a fetch ended.
#[derive(Clone, Debug, Default)]
pub struct FetchEnd {
    /// Set when it ended early; the types that were not sent were not read.
    pub stopped: Option<FetchStop>,
    /// What belongs to no type: a refused sign-in, policies of the request that exist nowhere.
    pub failures: Vec<ItemFailure>,
    /// Items of shared lists that are of no type of the catalogue.
    pub unclaimed: u64,
    /// Requests sent to Graph, a batch as one.
    pub calls: u64,
}

/// Why a fetch ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStop {
    /// Its caller cancelled it.
    Cancelled,
    /// Nobody takes the readings any more.
    ReceiverGone,
}

/// Reads the assignments of `inputs` and sends one [`TypeReading`] per type, in the order in which they end.
/// `progress` is called at each step, one call at a time; it must not block.
pub async fn fetch(
    client: &GraphClient,
    inputs: &FetchInputs,
    cancel: &CancellationToken,
    progress: &(dyn Fn(FetchProgress) + Send + Sync),
    sink: Sender<TypeReading>,
) -> FetchEnd {
    let groups = listing::groups(inputs);
    let types_total = groups.iter().map(|group| group.rows.len()).sum();
    let mut fetch = Fetch {
        client,
        inputs,
        stop: cancel.child_token(),
        tracker: Tracker::new(client, types_total, progress),
        sink,
        roles: None,
        shared: Mutex::default(),
    };
    match client.permissions(cancel).await {
        Ok(roles) => fetch.roles = roles,
        Err(error) => return fetch.end(cancel, Some(error)),
    }
    let mut pauses = client.state.budget.pauses();
    let parallel = client.wire.limits.parallel;
    {
        let fetch = &fetch;
        let work = stream::iter(groups).for_each_concurrent(parallel, |group| fetch.group(group));
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => break,
                // A new pause of the tenant is worth telling when it begins: nothing else moves until it is over.
                Ok(()) = pauses.changed() => fetch.tracker.step(|_| ()),
            }
        }
    }
    fetch.end(cancel, None)
}

/// A fetch under way.
struct Fetch<'a> {
    client: &'a GraphClient,
    inputs: &'a FetchInputs,
    /// Cancelled by the caller, or by the fetch itself when its receiver has gone.
    stop: CancellationToken,
    tracker: Tracker<'a>,
    sink: Sender<TypeReading>,
    /// The permissions of the token, where it shows them.
    roles: Option<BTreeSet<String>>,
    shared: Mutex<Findings>,
}

/// What the groups find out together.
#[derive(Default)]
struct Findings {
    /// The ids of the request that some list named.
    found: BTreeSet<String>,
    /// A list was not read to its end, although the tenant offers the type.
    incomplete: bool,
    unclaimed: u64,
    /// Sign-in was refused in mid-run: the rest is not tried.
    signed_out: Option<GraphError>,
    receiver_gone: bool,
}

impl Fetch<'_> {
    /// Boxed: within a stream the compiler cannot prove that this is `Send` for every lifetime.
    fn group(&self, group: Group) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(group) = self.permitted(group).await else { return };
            let signed_out = self.with(|findings| findings.signed_out.clone());
            let listing = match signed_out {
                Some(error) => Err(error),
                None => listing::list(self.client, &group, &self.stop).await,
            };
            match listing {
                Err(error) if error.is_cancelled() => {}
                Err(error) => self.refuse(&group, &error).await,
                Ok(listing) => self.read(&group, listing).await,
            }
        })
    }

    /// What of a group the token may read, as far as it shows; the rest is refused. `None` when nothing is left.
    async fn permitted(&self, group: Group) -> Option<Group> {
        let Some(roles) = &self.roles else { return Some(group) };
        let (refused, rows): (Vec<_>, Vec<_>) =
            group.rows.into_iter().partition(|row| missing_to_read(roles, row).is_some());
        if !refused.is_empty() {
            let error = GraphError::local(Code::GraphPermissionMissing, false);
            self.refuse(&Group { rows: refused }, &error).await;
        }
        (!rows.is_empty()).then_some(Group { rows })
    }

    /// Reports the types of a list that could not be read.
    async fn refuse(&self, group: &Group, error: &GraphError) {
        self.with(|findings| {
            findings.incomplete |= error.code != Code::GraphTypeUnavailable;
            if error.code == Code::GraphAuthFailed {
                findings.signed_out = Some(error.clone());
            }
        });
        for row in &group.rows {
            let failures = match error.code {
                Code::GraphTypeUnavailable => Vec::new(),
                _ => vec![list_failure(row, error)],
            };
            let coverage = Coverage { refused: BTreeMap::from([(error.code, 1)]), ..Coverage::default() };
            self.send(TypeReading {
                policy_type: row,
                coverage,
                policies: Vec::new(),
                listed: Vec::new(),
                failures,
            })
            .await;
        }
    }

    async fn read(&self, group: &Group, listing: Listing) {
        let mut split = listing::split(group, listing, self.inputs.policy_ids.as_ref());
        if split.unclaimed > 0 {
            tracing::debug!(
                list = group.list_path(),
                items = split.unclaimed,
                "a list holds items of no known policy type"
            );
        }
        let listed: u64 = split.by_row.values().map(|items| items.len() as u64).sum();
        self.tracker.step(|progress| progress.listed += listed);
        self.with(|findings| {
            findings.unclaimed += split.unclaimed;
            findings.incomplete |= split.untyped > 0;
            let ids = split.by_row.values().flatten().map(|item| item.id.clone());
            findings.found.extend(ids);
        });
        for row in &group.rows {
            let items = split.by_row.remove(row.key).unwrap_or_default();
            let read =
                reading::read(self.client, row, items, split.expanded, &self.stop, &self.tracker).await;
            let Some(mut reading) = read else { return };
            if split.untyped > 0 {
                // An item that does not say what it is may be one of this type.
                reading.coverage.complete = false;
                *reading.coverage.refused.entry(Code::GraphProtocol).or_default() += split.untyped;
                reading.failures.push(untyped_failure(row));
            }
            self.send(reading).await;
        }
    }

    async fn send(&self, reading: TypeReading) {
        let sent = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            sent = self.sink.send(reading) => sent,
        };
        if sent.is_ok() {
            self.tracker.step(|progress| progress.types_done += 1);
        } else {
            self.with(|findings| findings.receiver_gone = true);
            self.stop.cancel();
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Findings) -> T) -> T {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(self, cancel: &CancellationToken, sign_in: Option<GraphError>) -> FetchEnd {
        let calls = self.tracker.calls();
        let findings = self.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stopped = match (findings.receiver_gone, cancel.is_cancelled()) {
            (true, _) => Some(FetchStop::ReceiverGone),
            (false, true) => Some(FetchStop::Cancelled),
            (false, false) => None,
        };
        let mut end = FetchEnd { stopped, failures: Vec::new(), unclaimed: findings.unclaimed, calls };
        match sign_in {
            _ if end.stopped.is_some() => {}
            Some(error) => end.failures.push(ItemFailure::of(&error, "signing in")),
            None if findings.incomplete => {}
            None => end.failures = missing(self.inputs, &findings.found),
        }
        end
    }
}

impl ItemFailure {
    /// From a failed call; `subject` is what was being done, in our own words.
    fn of(error: &GraphError, subject: &str) -> Self {
        Self { failure: error.failure(subject), transient: error.transient, retry_after: error.retry_after }
    }

    /// One that no other attempt will cure.
    fn lasting(code: Code, message: &str) -> Self {
        Self { failure: Failure::new(code, message), transient: false, retry_after: None }
    }
}

fn list_failure(row: &PolicyType, error: &GraphError) -> ItemFailure {
    match row.permission_read.filter(|_| error.code == Code::GraphPermissionMissing) {
        Some(permission) => ItemFailure::of(error, &format!("{} needs {permission}", row.key)),
        None => ItemFailure::of(error, &format!("listing {}", row.key)),
    }
}

fn untyped_failure(row: &PolicyType) -> ItemFailure {
    let message = format!("the list of {} holds items that do not say their type", row.key);
    ItemFailure::lasting(Code::GraphProtocol, &message)
}

/// The policies of the request that no list named; only to be asked when every list was read to its end.
fn missing(inputs: &FetchInputs, found: &BTreeSet<String>) -> Vec<ItemFailure> {
    let asked = inputs.policy_ids.iter().flatten().filter(|id| !found.contains(*id));
    let failure = |id: &String| {
        let message = format!("policy {id} exists in none of the types of the request");
        ItemFailure::lasting(Code::AssignmentsPolicyMissing, &message)
    };
    asked.map(failure).collect()
}

/// The rows that a request asks for. One without assignments of its own is read as complete and empty.
fn requested(inputs: &FetchInputs) -> Vec<&'static PolicyType> {
    match &inputs.policy_types {
        None => policy_types::readable().collect(),
        Some(keys) => keys.iter().filter_map(|key| policy_types::find(key)).collect(),
    }
}

/// Whether there is anything to read of a row.
fn is_readable(row: &PolicyType) -> bool {
    row.read != Read::Nothing
}
