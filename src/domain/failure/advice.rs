//! What to do next about a failure: one sentence per code, for people.

use super::Code;

impl Code {
    /// The next thing to do where runs fail with the code: one plain sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::GraphAuthFailed => {
                "Check the tenant's credential in the configuration: the client id, the secret or certificate, and that it has not expired."
            }
            Self::GraphPermissionMissing => {
                "Grant the application the permission that the message names, give admin consent in the tenant, and retry."
            }
            Self::GraphForbidden => {
                "Look for what in the tenant forbids it, such as conditional access for workloads or a scoped role, and retry."
            }
            Self::GraphApprovalRequired => {
                "Approve the change in Intune under Multi Admin Approval, or exempt the application, and retry."
            }
            Self::GraphTypeUnavailable => {
                "Leave the type out of the request, or add the licence that offers it."
            }
            Self::GraphNotFound => "Fetch the tenant again: the object was deleted since it was read last.",
            Self::GraphBadRequest => {
                "Report it with the request id of the message: atlasd has asked Graph something that Graph does not understand."
            }
            Self::GraphConflict => "Retry: somebody changed the object at the same time.",
            Self::GraphThrottled => {
                "Wait and retry, and have fewer programs call Graph for this tenant at the same time."
            }
            Self::GraphUnavailable => {
                "Retry later, and look at the service health of Microsoft 365 where it stays so."
            }
            Self::GraphTimeout => {
                "Retry; where it stays so, raise graph.call_timeout or look at the way to Graph."
            }
            Self::GraphNetwork => {
                "Check name resolution, proxy and firewall between this machine and Graph, and retry."
            }
            Self::GraphProtocol => {
                "Retry, and report it with the request id where it comes again: something between here and Graph changes answers."
            }
            Self::AssignmentsPolicyMissing => {
                "Take the policy out of the request, or fetch the tenant again to see what there is."
            }
            Self::AssignmentsGroupUnmapped => {
                "Name a group of the target tenant for it in group_map, and plan again."
            }
            Self::AssignmentsGroupDeleted => {
                "Map the group to one that exists, or restore it in Entra, and plan again."
            }
            Self::AssignmentsFilterMissing => {
                "Create the assignment filter again, or fetch a snapshot that does not need it."
            }
            Self::AssignmentsTargetUnsupported => {
                "Leave the policy out: its type does not take such a target."
            }
            Self::AssignmentsReadIncomplete => {
                "Fetch the tenant again until the type is read completely, then use that snapshot."
            }
            Self::AssignmentsDriftedSincePlan => {
                "Plan again and look at the difference: somebody changed the assignments after the plan was made."
            }
            Self::AssignmentsVerifyMismatch => {
                "Fetch the policy and compare it with what was sent: somebody else may be writing it, too."
            }
            Self::AssignmentsGuardBlocked => {
                "Look at what would widen in the plan, and allow it with allow_widening only if it is meant."
            }
            Self::AssignmentsPartialFailure => {
                "Look at the other codes of the run, mend their causes, and retry: what is done already is skipped."
            }
            Self::RunCancelled => "Nothing: somebody cancelled it; ask again when it is wanted.",
            Self::RunTimeout => "Ask for fewer policies at a time, or raise execution.timeout.",
            Self::RunLeaseExpired => "Find out why the instance died or lost the database, then retry.",
            Self::RunAttemptsExhausted => {
                "Look at the other codes of the run: each of its attempts failed with them."
            }
            Self::RunStaleAttemptResult => "Nothing: another attempt had taken over, and its result counts.",
            Self::RunStaleQueued => {
                "Look at the instances and the actor tree for what keeps the tenant's queue from moving, then retry."
            }
            Self::RunAdapterOutOfSync => {
                "Nothing, unless it comes often: the run was closed from what its execution had recorded."
            }
            Self::RunCredentialsMissing => {
                "Add the credential that the tenant names to the configuration of every instance, and reload."
            }
            Self::InternalUnexpected => {
                "Look at the daemon's log around that time, and report it: this is a bug of atlasd."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_plain_sentence_of_its_own() {
        let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.advice()).collect();
        assert_eq!(all.len(), Code::ALL.len());
        for code in Code::ALL {
            let advice = code.advice();
            assert!(advice.starts_with(|c: char| c.is_ascii_uppercase()), "{code}: {advice}");
            assert!(advice.ends_with('.') && !advice.contains(". "), "{code}: one sentence: {advice}");
            assert!((20..=200).contains(&advice.len()), "{code}: {advice}");
        }
    }
}
