//! What a restore looks at before it plans: the permissions of its token, the policies as they are now, the groups and
//! filters that they are to have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Attempt;
use super::super::breaks::Break;
use super::super::conclude::Work;
use super::Earlier;
use super::source::Source;
use crate::actors::Progress;
use crate::domain::assignment::PolicyKey;
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::{RestoreInputs, RestoreMode};
use crate::domain::permissions::{Permissions, missing_to_read, missing_to_write};
use crate::domain::policy_types;
use crate::domain::restore::LivePolicy;
use crate::domain::restore::mapping::{Directory, Lookups};
use crate::graph::{GraphClient, GraphError};

type Live = Result<Option<LivePolicy>, Failure>;

/// What was found.
pub struct Looked {
    /// Groups and filters.
    pub directory: Directory,
    /// Permissions that the application does not have and this restore needs.
    pub permissions_missing: BTreeSet<&'static str>,
    /// Policies that another try might read.
    pub transient: Vec<Failure>,
    /// Policies that could not be read, also those.
    unread: Vec<Failure>,
    retry_after: Option<Duration>,
    policies: BTreeMap<PolicyKey, Live>,
}

impl Looked {
    /// A policy as it is now; what was not looked at is not there.
    pub fn live(&self, policy: &PolicyKey) -> Live {
        self.policies.get(policy).cloned().unwrap_or(Ok(None))
    }

    /// The same, for the one who carries it out.
    pub fn take(&mut self, policy: &PolicyKey) -> Live {
        self.policies.remove(policy).unwrap_or(Ok(None))
    }

    /// How an attempt ends that writes nothing: what could not be read, and whether another one may.
    pub fn come_again(self) -> Work {
        Work {
            failures: self.unread,
            transient: !self.transient.is_empty(),
            retry_after: self.retry_after,
            ..Work::default()
        }
    }
}

/// Looks, in as few calls as it takes.
pub async fn look(
    attempt: &Attempt,
    client: &GraphClient,
    inputs: &RestoreInputs,
    source: &Source,
    earlier: &Earlier,
) -> Result<Looked, Break> {
    let stop = attempt.stop.token();
    let fresh = source.items.iter().map(|item| &item.policy).filter(|policy| {
        !earlier.known.contains(policy) && source.complete_types.contains(&policy.policy_type)
    });
    let keys: Vec<PolicyKey> = fresh.chain(earlier.open.iter().map(|item| &item.policy)).cloned().collect();
    let roles = client.permissions(stop).await.map_err(|error| Break::graph(&error, "signing in"))?;
    let mut looked = Looked {
        directory: Directory { same_directory: source.same_directory, ..Directory::default() },
        permissions_missing: BTreeSet::new(),
        transient: Vec::new(),
        unread: Vec::new(),
        retry_after: None,
        policies: BTreeMap::new(),
    };
    let mut to_read = keys.clone();
    if let Some(roles) = &roles {
        looked.check(roles, inputs, &keys);
        to_read.retain(|policy| !looked.policies.contains_key(policy));
    }
    looked.read(attempt, client, to_read).await?;
    let fresh: BTreeSet<_> = keys.into_iter().filter(|policy| !earlier.known.contains(policy)).collect();
    looked.look_up(attempt, client, inputs, source, roles.as_ref(), &fresh).await?;
    Ok(looked)
}

impl Looked {
    /// Refuses what the application may not do, before any call: a plan needs to read, its execution to write too.
    fn check(&mut self, roles: &BTreeSet<String>, inputs: &RestoreInputs, keys: &[PolicyKey]) {
        let types: BTreeSet<&str> = keys.iter().map(|policy| policy.policy_type.as_str()).collect();
        let rows: Vec<_> = types.into_iter().filter_map(policy_types::find).collect();
        self.permissions_missing = Permissions::missing(roles, rows.iter().copied()).to_restore();
        for row in rows {
            let to_write = missing_to_write(roles, row).filter(|_| !inputs.dry_run);
            let Some(missing) = missing_to_read(roles, row).or(to_write) else { continue };
            let failure = lacking(missing);
            for policy in keys.iter().filter(|policy| policy.policy_type == row.key) {
                self.policies.insert(policy.clone(), Err(failure.clone()));
            }
        }
    }

    async fn read(
        &mut self,
        attempt: &Attempt,
        client: &GraphClient,
        keys: Vec<PolicyKey>,
    ) -> Result<(), Break> {
        let (board, run_id, listed) = (attempt.parts.board.clone(), attempt.run.id, keys.len() as u64);
        let told = client.clone();
        let progress = move |read: u64| {
            let progress = Progress {
                listed,
                read,
                calls: told.calls(),
                throttled_until: told.throttled_until(),
                ..Progress::default()
            };
            board.report(run_id, progress);
        };
        let results = client.read_policies(&keys, attempt.stop.token(), &progress).await;
        for (policy, result) in keys.into_iter().zip(results) {
            let live = match result {
                Ok(live) => Ok(live),
                Err(error) if error.is_cancelled() => return Err(Break::stopped()),
                Err(error) => Err(self.unread(&error)),
            };
            self.policies.insert(policy, live);
        }
        Ok(())
    }

    fn unread(&mut self, error: &GraphError) -> Failure {
        let failure = error.failure("a policy could not be read");
        self.note(error, &failure);
        failure
    }

    /// Groups and filters, where there are any to look up.
    async fn look_up(
        &mut self,
        attempt: &Attempt,
        client: &GraphClient,
        inputs: &RestoreInputs,
        source: &Source,
        roles: Option<&BTreeSet<String>>,
        fresh: &BTreeSet<PolicyKey>,
    ) -> Result<(), Break> {
        let mut lookups = Lookups::default();
        for item in source.items.iter().filter(|item| fresh.contains(&item.policy)) {
            lookups.add_snapshot(&item.snapshot, &inputs.group_map);
        }
        if inputs.mode == RestoreMode::Merge {
            let live = fresh.iter().filter_map(|policy| self.policies.get(policy)?.as_ref().ok()?.as_ref());
            for live in live {
                lookups.add_live(&live.assignments);
            }
        }
        let missing = roles.map(|roles| Permissions::missing(roles, []));
        let stop = attempt.stop.token();
        if !lookups.group_ids.is_empty() {
            match missing.as_ref().and_then(|missing| missing.missing_for_groups) {
                Some(permission) => self.refuse(fresh, &lacking(permission)),
                None => match client.existing_groups(&lookups.group_ids, stop).await {
                    Ok(groups) => self.directory.groups = groups,
                    Err(error) => self.not_looked_up(fresh, &error, "groups could not be looked up")?,
                },
            }
        }
        if !lookups.filter_ids.is_empty() {
            match missing.as_ref().and_then(|missing| missing.missing_for_filters) {
                Some(permission) => self.refuse(fresh, &lacking(permission)),
                None => match client.filters(stop).await {
                    Ok(filters) => self.directory.filters = filters,
                    Err(error) => self.not_looked_up(fresh, &error, "filters could not be looked up")?,
                },
            }
        }
        Ok(())
    }

    /// What cannot be known of groups or filters stops what is to be planned; what an earlier attempt left open goes
    /// on.
    fn not_looked_up(
        &mut self,
        fresh: &BTreeSet<PolicyKey>,
        error: &GraphError,
        what: &str,
    ) -> Result<(), Break> {
        if error.is_cancelled() {
            return Err(Break::stopped());
        }
        let failure = error.failure(what);
        self.note(error, &failure);
        self.refuse(fresh, &failure);
        Ok(())
    }

    fn refuse(&mut self, policies: &BTreeSet<PolicyKey>, failure: &Failure) {
        for policy in policies {
            self.policies.insert(policy.clone(), Err(failure.clone()));
        }
    }

    fn note(&mut self, error: &GraphError, failure: &Failure) {
        self.unread.push(failure.clone());
        if error.transient {
            self.transient.push(failure.clone());
            self.retry_after = self.retry_after.max(error.retry_after);
        }
    }
}

fn lacking(permission: &str) -> Failure {
    let message = format!("the application lacks {permission}: grant it, with admin consent");
    Failure::new(Code::GraphPermissionMissing, &message)
}
