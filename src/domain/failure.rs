//! Failures as the ledger shows them: a closed list of codes and sanitised messages (SPEC section 7).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod advice;
mod sanitise;
#[cfg(test)]
mod tests;

pub use sanitise::sanitise;

/// Declares the closed list of reason codes.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A stable reason code. The list is closed: a code never depends on the text of a foreign message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Code {
            /// Every code, in the order of the SPEC.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The code as the ledger holds it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The token endpoint refused the credential.
    GraphAuthFailed = "graph.auth_failed",
    /// The token lacks an application permission.
    GraphPermissionMissing = "graph.permission_missing",
    /// Graph refused for another reason than a missing permission.
    GraphForbidden = "graph.forbidden",
    /// Multi Admin Approval asks for a justification.
    GraphApprovalRequired = "graph.approval_required",
    /// The tenant's licence or cloud does not offer the type.
    GraphTypeUnavailable = "graph.type_unavailable",
    /// The object does not exist.
    GraphNotFound = "graph.not_found",
    /// Graph did not understand the request.
    GraphBadRequest = "graph.bad_request",
    /// Somebody else changed the object at the same time.
    GraphConflict = "graph.conflict",
    /// Still throttled after all retries.
    GraphThrottled = "graph.throttled",
    /// Graph answered 5xx after all retries.
    GraphUnavailable = "graph.unavailable",
    /// Graph did not answer in time.
    GraphTimeout = "graph.timeout",
    /// No connection to Graph.
    GraphNetwork = "graph.network",
    /// An answer that breaks the protocol: not JSON, a lost batch item, a foreign or repeated nextLink.
    GraphProtocol = "graph.protocol",
    /// A policy that the request names does not exist.
    AssignmentsPolicyMissing = "assignments.policy_missing",
    /// A group has no counterpart in the request's map.
    AssignmentsGroupUnmapped = "assignments.group_unmapped",
    /// A group no longer exists.
    AssignmentsGroupDeleted = "assignments.group_deleted",
    /// A filter no longer exists.
    AssignmentsFilterMissing = "assignments.filter_missing",
    /// The policy type does not take such a target.
    AssignmentsTargetUnsupported = "assignments.target_unsupported",
    /// The assignments were not read completely.
    AssignmentsReadIncomplete = "assignments.read_incomplete",
    /// The live set is no longer the one that the plan showed.
    AssignmentsDriftedSincePlan = "assignments.drifted_since_plan",
    /// What was read back is not what was sent.
    AssignmentsVerifyMismatch = "assignments.verify_mismatch",
    /// A guard stopped a change that widens.
    AssignmentsGuardBlocked = "assignments.guard_blocked",
    /// Some items failed, others did not.
    AssignmentsPartialFailure = "assignments.partial_failure",
    /// Cancelled on request.
    RunCancelled = "run.cancelled",
    /// The hard deadline of an attempt passed.
    RunTimeout = "run.timeout",
    /// The instance died and no tries were left.
    RunLeaseExpired = "run.lease_expired",
    /// Every try failed.
    RunAttemptsExhausted = "run.attempts_exhausted",
    /// A result came after another attempt had taken over.
    RunStaleAttemptResult = "run.stale_attempt_result",
    /// Nobody picked the run up although a live instance serves it.
    RunStaleQueued = "run.stale_queued",
    /// The run was closed from its adapter run.
    RunAdapterOutOfSync = "run.adapter_out_of_sync",
    /// The tenant's credential is not configured here.
    RunCredentialsMissing = "run.credentials_missing",
    /// A bug of atlasd.
    InternalUnexpected = "internal.unexpected",
}

// The derived schema would not see the names that the macro gives.
impl utoipa::PartialSchema for Code {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}
impl ToSchema for Code {}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(())
    }
}

/// The longest message, in characters.
pub const MESSAGE_CHARS_MAX: usize = 200;
/// The most entries of a `failure_summary`.
pub const SUMMARY_ENTRIES_MAX: usize = 20;

/// One entry of a `failure_summary`: safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What, for programs.
    pub code: Code,
    /// What, for people: one line, at most [`MESSAGE_CHARS_MAX`] characters, sanitised.
    message: String,
}

impl Failure {
    /// A failure with `message` passed through [`sanitise`].
    pub fn new(code: Code, message: &str) -> Self {
        Self { code, message: sanitise(message) }
    }

    /// The sanitised message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Groups item failures by code, most frequent first and then in the order of the SPEC, at most
/// [`SUMMARY_ENTRIES_MAX`] entries. An entry has the message of the first of its items and, where there are several,
/// their number.
pub fn summarise(failures: &[Failure]) -> Vec<Failure> {
    let mut groups: BTreeMap<Code, (usize, &Failure)> = BTreeMap::new();
    for failure in failures {
        groups.entry(failure.code).or_insert((0, failure)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    // ORDER: a stable sort of what is in the order of codes, so that equal counts stay in that order.
    groups.sort_by_key(|(items, _)| std::cmp::Reverse(*items));
    groups.truncate(SUMMARY_ENTRIES_MAX);
    groups.into_iter().map(|(items, first)| first.counted(items)).collect()
}

impl Failure {
    fn counted(&self, items: usize) -> Self {
        if items == 1 {
            return self.clone();
        }
        let suffix = format!(" ({items} items)");
        let room = MESSAGE_CHARS_MAX - suffix.chars().count();
        Self::new(self.code, &format!("{}{suffix}", sanitise::shorten(&self.message, room)))
    }
}
