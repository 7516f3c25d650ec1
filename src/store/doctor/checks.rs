//! The checks of rows: which rows each guarantee speaks of, and which of them break it.
//!
//! A new table that a guarantee rests on (a journal of restores, say) gets its checks here: a query that gives the runs
//! that break it is all that there is to a check.

/// A check of rows. Both texts may name `$1` (now), `$2` (now - 15 s), `$3` (now - 10 min) and `$4`, the run after which
/// history is looked at: 0 for all of it. `{told_once}` is true unless the beginning of `o` lies among the times that
/// the ledger's clock told twice.
pub struct Check {
    /// `G1` to `G12`.
    pub guarantee: &'static str,
    /// Its name in metrics and JSON.
    pub key: &'static str,
    /// What holds.
    pub what: &'static str,
    /// What it speaks of: a table `r` and a condition, to be counted.
    pub of: &'static str,
    /// The runs that break it, as `run_id`.
    pub text: &'static str,
    /// What to do then.
    pub advice: &'static str,
}

/// All of them.
pub const CHECKS: &[Check] = &[
    Check {
        guarantee: "G1",
        key: "active_unique",
        what: "at most one active run per identity",
        of: "operation_runs r WHERE r.status IN ('queued', 'running')",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.status IN ('queued', 'running') AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.run_identity_hash = a.run_identity_hash AND b.id < a.id \
             AND b.status IN ('queued', 'running') AND (b.tenant_id = a.tenant_id \
             OR (b.tenant_id IS NULL AND a.tenant_id IS NULL AND b.workspace_id = a.workspace_id)))",
        advice: "cancel all but the oldest run of each identity, then restore the unique indexes",
    },
    Check {
        guarantee: "G1",
        key: "running_unique",
        what: "at most one running run per tenant",
        of: "operation_runs r WHERE r.status = 'running'",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.status = 'running' AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.tenant_id = a.tenant_id AND b.status = 'running' \
             AND b.id < a.id)",
        advice: "stop the instance that owns the later run, then restore the unique index",
    },
    Check {
        guarantee: "G1",
        key: "holder_unique",
        what: "every active run holds its identity, and no identity has two holders",
        of: "operation_runs r WHERE r.holds_identity OR r.status IN ('queued', 'running')",
        text: "SELECT a.id AS run_id FROM operation_runs a \
             WHERE (a.status IN ('queued', 'running') AND NOT a.holds_identity) OR (a.holds_identity AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.run_identity_hash = a.run_identity_hash AND b.id < a.id \
             AND b.holds_identity AND (b.tenant_id = a.tenant_id \
             OR (b.tenant_id IS NULL AND a.tenant_id IS NULL AND b.workspace_id = a.workspace_id))))",
        advice: "cancel all but the oldest holder of each identity, then restore the unique indexes",
    },
    Check {
        guarantee: "G2",
        // A forced run ends the cooldown that it skips, also for those after it: nobody holds the identity any more.
        key: "cooldown",
        what: "no run was accepted within the cooldown of an earlier one of its identity, unless forced",
        of: "operation_runs r WHERE r.cooldown_until IS NOT NULL AND r.id > $4",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.id IN ( \
             SELECT later.id FROM operation_runs earlier JOIN operation_runs later \
             ON later.run_identity_hash = earlier.run_identity_hash AND later.id > earlier.id \
             AND later.created_at < earlier.cooldown_until AND (later.tenant_id = earlier.tenant_id \
             OR (later.tenant_id IS NULL AND earlier.tenant_id IS NULL \
             AND later.workspace_id = earlier.workspace_id)) \
             WHERE earlier.cooldown_until IS NOT NULL AND earlier.id > $4 AND NOT EXISTS (SELECT 1 FROM operation_runs f \
             WHERE f.run_identity_hash = earlier.run_identity_hash AND f.id > earlier.id AND f.id <= later.id \
             AND f.workspace_id = earlier.workspace_id AND {forced}))",
        advice: "look at the context of these runs for who asked; two daemons without the holder index do this",
    },
    Check {
        guarantee: "G3",
        key: "orphaned",
        what: "no running run is left with a dead instance for longer than 15 s",
        of: "operation_runs r WHERE r.status = 'running'",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = r.lease_owner AND i.lease_until > $2 \
             AND (i.stopped_at IS NULL OR i.stopped_at > $2))",
        advice: "start a daemon on this database: it takes them up or closes them",
    },
    Check {
        guarantee: "G3",
        key: "completed_has_end",
        what: "a completed run has an outcome and an end, an active one has neither",
        of: "operation_runs r WHERE r.id > $4",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.id > $4 \
             AND ((r.status = 'completed') <> (r.outcome <> 'pending') \
             OR (r.status = 'completed') <> (r.completed_at IS NOT NULL))",
        advice: "restore the ledger's CHECKs and correct these rows by hand",
    },
    Check {
        guarantee: "G3",
        key: "attempt_left_open",
        what: "no attempt is open that its run does not execute",
        of: "run_attempts r WHERE r.run_id > $4 AND r.outcome = 'running'",
        text: "SELECT a.run_id FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id \
             WHERE a.run_id > $4 AND a.outcome = 'running' AND (r.status <> 'running' OR r.lease_token <> a.lease_token)",
        advice: "these attempts ended without a settlement; their runs are not affected",
    },
    Check {
        guarantee: "G3",
        key: "attempt_missing",
        what: "every running run has an open attempt of its latest claim",
        of: "operation_runs r WHERE r.status = 'running'",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM run_attempts a WHERE a.run_id = r.id AND a.lease_token = r.lease_token \
             AND a.outcome = 'running')",
        advice: "wait for the execution to end, or cancel the run",
    },
    Check {
        guarantee: "G5",
        key: "final_attempt",
        what: "counts and failures of a completed run are those of its final attempt",
        of: "operation_runs r WHERE r.status = 'completed' AND r.id > $4",
        text: "SELECT r.id AS run_id FROM operation_runs r JOIN run_attempts a ON a.run_id = r.id \
             AND a.lease_token = r.lease_token WHERE r.status = 'completed' AND r.id > $4 \
             AND a.outcome IN ('succeeded', 'failed') AND (a.outcome <> r.outcome \
             OR a.summary_counts <> r.summary_counts OR a.failure_summary <> r.failure_summary)",
        advice: "the attempt's row is the original; somebody changed the run's",
    },
    Check {
        guarantee: "G7",
        key: "reconcile_unique",
        what: "at most one reconcile is active per workspace",
        of: "operation_runs r WHERE r.tenant_id IS NULL AND r.status IN ('queued', 'running')",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.type = 'ops.reconcile_adapter_runs' \
             AND a.status IN ('queued', 'running') AND EXISTS (SELECT 1 FROM operation_runs b \
             WHERE b.workspace_id = a.workspace_id AND b.type = a.type AND b.id < a.id \
             AND b.status IN ('queued', 'running'))",
        advice: "cancel the later one, then restore the unique index",
    },
    Check {
        guarantee: "G3",
        key: "adapter_left_open",
        what: "adapter runs are closed once their run has ended",
        of: "snapshots r WHERE r.state = 'building'",
        text: "SELECT s.operation_run_id AS run_id FROM snapshots s JOIN operation_runs r \
             ON r.id = s.operation_run_id WHERE s.state = 'building' AND r.status = 'completed'",
        advice: "run a reconcile of the workspace: it closes them",
    },
    Check {
        guarantee: "G12",
        key: "run_missing",
        what: "every attempt and snapshot still has its run",
        of: "run_attempts r WHERE r.run_id > $4",
        text: "SELECT o.run_id FROM (SELECT run_id FROM run_attempts \
             UNION SELECT operation_run_id FROM snapshots WHERE operation_run_id IS NOT NULL) o \
             WHERE o.run_id > $4 AND NOT EXISTS (SELECT 1 FROM operation_runs r WHERE r.id = o.run_id)",
        advice: "rows of the ledger were removed by something that is not atlasd",
    },
    Check {
        guarantee: "G12",
        key: "holder_for_ever",
        what: "no completed run holds an identity without a cooldown that ends",
        of: "operation_runs r WHERE r.status = 'completed' AND r.holds_identity",
        text: "SELECT r.id AS run_id FROM operation_runs r \
             WHERE r.status = 'completed' AND r.holds_identity AND r.cooldown_until IS NULL",
        advice: "take the flag off these rows: nothing else ever would",
    },
    Check {
        guarantee: "G4",
        key: "changed_after_end",
        what: "no completed run was changed after its end",
        of: "operation_runs r WHERE r.status = 'completed' AND r.id > $4",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'completed' AND r.id > $4 \
             AND r.updated_at > r.completed_at",
        advice: "the final attempt's row is the original; restore the trigger that refuses such changes",
    },
    Check {
        guarantee: "G6",
        key: "tenant_overlap",
        // A stale attempt's end is when its result came, which is too late by its nature.
        what: "no two attempts of one tenant were executed at the same time",
        of: "run_attempts r WHERE r.run_id > $4 AND r.outcome <> 'stale'",
        text: "SELECT o.run_id FROM (SELECT a.run_id, a.started_at, max(a.ended_at) OVER (PARTITION BY r.tenant_id \
             ORDER BY a.started_at, a.lease_token ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS others_until \
             FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id \
             WHERE a.run_id > $4 AND r.tenant_id IS NOT NULL AND a.outcome <> 'stale') o \
             WHERE o.others_until > o.started_at AND {told_once}",
        advice: "compare the attempts' instances; where two servers took turns as the database, their clocks",
    },
    Check {
        guarantee: "G6",
        key: "attempt_after_end",
        what: "no attempt began after its run had completed",
        of: "run_attempts r WHERE r.run_id > $4",
        text: "SELECT o.run_id FROM run_attempts o JOIN operation_runs r ON r.id = o.run_id \
             WHERE o.run_id > $4 AND r.status = 'completed' AND o.started_at > r.completed_at AND {told_once}",
        advice: "find out which program claims completed runs, by the attempts' instances, and stop it",
    },
    Check {
        guarantee: "G6",
        key: "tokens_grow",
        what: "a run's lease tokens grow from claim to claim, and none is larger than the run's",
        of: "run_attempts r WHERE r.run_id > $4",
        text: "SELECT o.run_id FROM (SELECT a.run_id, a.started_at, a.lease_token, r.lease_token AS latest, \
             lag(a.started_at) OVER (PARTITION BY a.run_id ORDER BY a.lease_token) AS earlier \
             FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id WHERE a.run_id > $4) o \
             WHERE (o.earlier > o.started_at AND {told_once}) OR o.lease_token > o.latest",
        advice: "stop all instances before anything else: a token that is given twice fences nobody",
    },
    Check {
        guarantee: "G7",
        key: "reconcile_overlap",
        what: "no two reconciles of one workspace were executed at the same time",
        of: "operation_runs r WHERE r.type = 'ops.reconcile_adapter_runs' AND r.id > $4",
        text: "SELECT o.run_id FROM (SELECT r.id AS run_id, r.started_at, max(r.completed_at) OVER \
             (PARTITION BY r.workspace_id ORDER BY r.started_at, r.id \
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS others_until FROM operation_runs r \
             WHERE r.type = 'ops.reconcile_adapter_runs' AND r.started_at IS NOT NULL AND r.id > $4) o \
             WHERE o.others_until > o.started_at AND {told_once}",
        advice: "restore the unique indexes; repairs are idempotent, so their results stand",
    },
    Check {
        guarantee: "G9",
        key: "tenant_neglected",
        what: "no tenant's due run waits for longer than 10 min while a live instance executes nothing of it",
        of: "operation_runs r WHERE r.status = 'queued' AND r.tenant_id IS NOT NULL",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'queued' AND r.tenant_id IS NOT NULL \
             AND r.updated_at <= $3 AND coalesce(r.next_attempt_at, r.created_at) <= $3 \
             AND EXISTS (SELECT 1 FROM instances i WHERE i.stopped_at IS NULL AND i.lease_until > $1 \
             AND i.started_at <= $3) \
             AND NOT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = r.tenant_id AND b.status = 'running') \
             AND NOT EXISTS (SELECT 1 FROM operation_runs e WHERE e.tenant_id = r.tenant_id \
             AND e.status = 'completed' AND e.completed_at > $3)",
        advice: "look at execution.tenants_max and the instances' logs; a reconcile closes what waits for too long",
    },
    Check {
        guarantee: "G10",
        key: "run_of_workspace",
        what: "a run's tenant and user belong to its workspace",
        of: "operation_runs r WHERE r.id > $4",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.id > $4 AND (( \
             r.tenant_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tenants t WHERE t.id = r.tenant_id \
             AND t.workspace_id = r.workspace_id)) OR (r.user_id IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM users u WHERE u.id = r.user_id AND u.workspace_id = r.workspace_id)))",
        advice: "find out who owns these runs before anybody reads them, then correct them by hand",
    },
    Check {
        guarantee: "G10",
        key: "snapshot_of_tenant",
        what: "a snapshot's tenant is that of its run",
        of: "snapshots r WHERE r.operation_run_id > $4",
        text: "SELECT r.id AS run_id FROM snapshots s JOIN operation_runs r ON r.id = s.operation_run_id \
             WHERE r.id > $4 AND (r.tenant_id IS NULL OR r.tenant_id <> s.tenant_id)",
        advice: "find out whose policies these snapshots hold before anybody restores them",
    },
];
