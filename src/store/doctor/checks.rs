//! The checks of rows: which rows each guarantee speaks of, and which of them break it.
//!
//! A new table that a guarantee rests on gets its checks here: a query that gives the runs that break it is all that there
//! is to a check. None compares each row with each: what is asked of several rows of one identity, tenant or workspace is
//! asked by a window over them, so that a long history costs a sort.

/// A check of rows. Both texts may name `$1` (now), `$2` (before which a dead instance told its last: now - 17 s), `$3`
/// (now - 10 min), `$4`, the run after which history is looked at (0 for all of it), `$5` (before which a lease had to be
/// taken over: now - 5 s) and `$6` (now - 1 h). `{forced}` is true where the run `f` was forced, `{told_once}` unless the
/// beginning of `o` lies among the times that the ledger's clock told twice.
pub struct Check {
    /// `G1` to `G12`.
    pub guarantee: &'static str,
    /// Its name in metrics and JSON.
    pub key: &'static str,
    /// What holds.
    pub what: &'static str,
    /// What it speaks of: a table `r` and a condition, to be counted.
    pub of: &'static str,
    /// The runs that break it, as `run_id`: 0 for what is not of a run.
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
        text: "SELECT o.id AS run_id FROM (SELECT a.id, row_number() OVER (PARTITION BY a.tenant_id, \
             CASE WHEN a.tenant_id IS NULL THEN a.workspace_id END, a.run_identity_hash ORDER BY a.id) AS place \
             FROM operation_runs a WHERE a.status IN ('queued', 'running')) o WHERE o.place > 1",
        advice: "cancel all but the oldest run of each identity, then restore the unique indexes",
    },
    Check {
        guarantee: "G1",
        key: "running_unique",
        what: "at most one running run per tenant",
        of: "operation_runs r WHERE r.status = 'running'",
        text: "SELECT o.id AS run_id FROM (SELECT a.id, row_number() OVER (PARTITION BY a.tenant_id ORDER BY a.id) \
             AS place FROM operation_runs a WHERE a.status = 'running' AND a.tenant_id IS NOT NULL) o \
             WHERE o.place > 1",
        advice: "stop the instance that owns the later run, then restore the unique index",
    },
    Check {
        guarantee: "G1",
        key: "active_holds",
        what: "every active run holds its identity",
        of: "operation_runs r WHERE r.status IN ('queued', 'running')",
        text: "SELECT r.id AS run_id FROM operation_runs r \
             WHERE r.status IN ('queued', 'running') AND NOT r.holds_identity",
        advice: "give them their identity back, or cancel those whose identity another run holds: \
             UPDATE operation_runs SET holds_identity = TRUE WHERE id = ID AND status <> 'completed'",
    },
    Check {
        guarantee: "G1",
        key: "holder_unique",
        what: "no identity has two holders",
        of: "operation_runs r WHERE r.holds_identity",
        text: "SELECT o.id AS run_id FROM (SELECT a.id, row_number() OVER (PARTITION BY a.tenant_id, \
             CASE WHEN a.tenant_id IS NULL THEN a.workspace_id END, a.run_identity_hash ORDER BY a.id) AS place \
             FROM operation_runs a WHERE a.holds_identity) o WHERE o.place > 1",
        // A completed run cannot be cancelled; its holding flag is the one thing that may still be taken from it.
        advice: "leave one holder to each identity: cancel the active runs that are too many, and take the flag off \
             the completed ones: UPDATE operation_runs SET holds_identity = FALSE WHERE id = ID AND status = \
             'completed'; then restore the unique indexes",
    },
    Check {
        guarantee: "G2",
        // A forced run ends the cooldown that it skips, also for those after it: nobody holds the identity any more. So
        // the runs of an identity fall into groups, each of which begins with a forced run. What was accepted by a clock
        // that was set back may come after a cooldown that had passed.
        key: "cooldown",
        what: "no run was accepted within the cooldown of an earlier one of its identity, unless forced",
        of: "operation_runs r WHERE r.cooldown_until IS NOT NULL AND r.id > $4",
        text: "SELECT o.id AS run_id FROM (SELECT g.id, g.created_at, max(g.cooldown_until) OVER (PARTITION BY \
             g.tenant_id, g.workspace_id, g.run_identity_hash, g.forces ORDER BY g.id \
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS others_until FROM (SELECT f.id, f.created_at, \
             f.cooldown_until, f.tenant_id, f.workspace_id, f.run_identity_hash, \
             count(CASE WHEN {forced} THEN 1 END) OVER (PARTITION BY f.tenant_id, f.workspace_id, \
             f.run_identity_hash ORDER BY f.id ROWS UNBOUNDED PRECEDING) AS forces \
             FROM operation_runs f WHERE f.id > $4) g) o WHERE o.created_at < o.others_until \
             AND NOT EXISTS (SELECT 1 FROM clock_steps c WHERE o.created_at BETWEEN c.low_at AND c.high_at)",
        advice: "look at the context of these runs for who asked; two daemons without the holder index do this",
    },
    Check {
        guarantee: "G2",
        key: "holder_lost",
        // Nothing but a forced request takes the identity from a run before its cooldown has passed; by a clock that was
        // set back it had passed.
        what: "a run in cooldown holds its identity until a forced run takes it over",
        of: "operation_runs r WHERE r.status = 'completed' AND r.cooldown_until > $1 AND r.id > $4",
        text: "SELECT o.id AS run_id FROM (SELECT f.id, f.status, f.holds_identity, f.cooldown_until, \
             max(CASE WHEN {forced} THEN f.id END) OVER (PARTITION BY f.tenant_id, f.workspace_id, \
             f.run_identity_hash) AS last_forced FROM operation_runs f WHERE f.id > $4 AND f.run_identity_hash IN \
             (SELECT d.run_identity_hash FROM operation_runs d WHERE d.status = 'completed' AND NOT d.holds_identity \
             AND d.cooldown_until > $1 AND d.id > $4)) o \
             WHERE o.status = 'completed' AND NOT o.holds_identity AND o.cooldown_until > $1 \
             AND coalesce(o.last_forced, 0) <= o.id AND NOT EXISTS (SELECT 1 FROM clock_steps c \
             WHERE o.cooldown_until BETWEEN c.low_at AND c.high_at)",
        advice: "until their cooldown is over, ask for these identities only where a repeat does no harm; the flag \
             cannot be given back, since a completed run never changes",
    },
    Check {
        guarantee: "G3",
        key: "orphaned",
        // The ledger does not see a death, only the last heartbeat: the instance died between that and the next, which
        // is due 2 s later, so that 17 s after the last one the 15 s of G3 are over for certain. One that lives and is
        // slow has its lease for all that, and a lease may be configured to be longer: while it lasts, and for the 5 s
        // that the takeover may need after it, its runs are nobody else's. When it is over, the instance has stopped
        // its executions by itself, whether it lives or not. One that stopped in order died when it said so.
        what: "no running run is left with a dead instance for longer than 15 s",
        of: "operation_runs r WHERE r.status = 'running'",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = r.lease_owner AND (i.lease_until > $5 OR i.heartbeat_at > $2) \
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
        advice: "correct these rows by hand (a completed one only while operation_runs_completed_is_final is away), \
             then restore the ledger's CHECKs",
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
        // The ledger itself ends a run whose last attempt was retried, handed back, lost its lease, or came too late
        // with its result: cancelled or not picked up in the queue, or taken from a dead instance. Such an end has one of
        // three codes and counts nothing.
        text: "SELECT r.id AS run_id FROM operation_runs r JOIN run_attempts a ON a.run_id = r.id \
             AND a.lease_token = r.lease_token WHERE r.status = 'completed' AND r.id > $4 \
             AND CASE WHEN a.outcome IN ('succeeded', 'failed') THEN a.outcome <> r.outcome \
             OR a.summary_counts <> r.summary_counts OR a.failure_summary <> r.failure_summary \
             WHEN a.outcome = 'running' THEN FALSE \
             ELSE r.outcome <> 'failed' OR CAST(r.summary_counts AS text) <> '{}' \
             OR (CAST(r.failure_summary AS text) NOT LIKE '%\"run.cancelled\"%' \
             AND CAST(r.failure_summary AS text) NOT LIKE '%\"run.stale_queued\"%' \
             AND CAST(r.failure_summary AS text) NOT LIKE '%\"run.lease_expired\"%') END",
        advice: "the attempt's row is the original; somebody changed the run's",
    },
    Check {
        guarantee: "G7",
        key: "reconcile_unique",
        what: "at most one reconcile is active per workspace",
        of: "operation_runs r WHERE r.tenant_id IS NULL AND r.status IN ('queued', 'running')",
        text: "SELECT o.id AS run_id FROM (SELECT a.id, row_number() OVER (PARTITION BY a.workspace_id ORDER BY a.id) \
             AS place FROM operation_runs a WHERE a.type = 'ops.reconcile_adapter_runs' \
             AND a.status IN ('queued', 'running')) o WHERE o.place > 1",
        advice: "cancel the later one, then restore the unique index",
    },
    Check {
        guarantee: "G3",
        key: "adapter_left_open",
        what: "adapter runs are closed once their run has ended",
        of: "(SELECT s.state FROM snapshots s UNION ALL SELECT x.state FROM restore_runs x) r \
             WHERE r.state = 'building'",
        text: "SELECT o.run_id FROM (SELECT s.operation_run_id AS run_id FROM snapshots s WHERE s.state = 'building' \
             UNION ALL SELECT x.operation_run_id FROM restore_runs x WHERE x.state = 'building') o \
             JOIN operation_runs r ON r.id = o.run_id WHERE r.status = 'completed'",
        advice: "run a reconcile of the workspace: it closes them",
    },
    Check {
        guarantee: "G3",
        key: "item_left_open",
        // A restore succeeds when each of its policies is as wanted; a dry run when there is a plan.
        what: "a restore that succeeded has carried out each policy of its journal",
        of: "restore_items r WHERE r.operation_run_id > $4",
        text: "SELECT r.id AS run_id FROM restore_items i JOIN operation_runs r ON r.id = i.operation_run_id \
             WHERE i.operation_run_id > $4 AND i.state NOT IN ('verified', 'skipped') AND r.status = 'completed' \
             AND r.outcome = 'succeeded' AND (i.state = 'sent' OR NOT EXISTS (SELECT 1 FROM restore_runs x \
             WHERE x.operation_run_id = r.id AND x.dry_run))",
        advice: "read these policies in Intune, compare them with the items of the run, and ask for the restore again \
             where they are not as wanted",
    },
    Check {
        guarantee: "G3",
        key: "reconcile_neglected",
        what: "no due reconcile waits for longer than 1 h while an instance lives that could execute it",
        of: "operation_runs r WHERE r.status = 'queued' AND r.tenant_id IS NULL",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'queued' AND r.tenant_id IS NULL \
             AND r.updated_at <= $6 AND coalesce(r.next_attempt_at, r.created_at) <= $6 \
             AND EXISTS (SELECT 1 FROM instances i WHERE i.stopped_at IS NULL AND i.lease_until > $1 \
             AND i.started_at <= $6)",
        advice: "look at the instances' logs for the reconcile actor; a restart of the daemon executes them",
    },
    Check {
        guarantee: "G12",
        key: "run_missing",
        what: "every attempt, snapshot, restore and item of a journal still has its run",
        of: "run_attempts r WHERE r.run_id > $4",
        text: "SELECT o.run_id FROM (SELECT a.run_id FROM run_attempts a WHERE a.run_id > $4 \
             UNION SELECT s.operation_run_id FROM snapshots s WHERE s.operation_run_id > $4 \
             UNION SELECT x.operation_run_id FROM restore_runs x WHERE x.operation_run_id > $4 \
             UNION SELECT i.operation_run_id FROM restore_items i WHERE i.operation_run_id > $4) o \
             WHERE NOT EXISTS (SELECT 1 FROM operation_runs r WHERE r.id = o.run_id)",
        advice: "rows of the ledger were removed by something that is not atlasd",
    },
    Check {
        guarantee: "G12",
        key: "holder_for_ever",
        what: "no completed run holds an identity without a cooldown that ends",
        of: "operation_runs r WHERE r.status = 'completed' AND r.holds_identity",
        text: "SELECT r.id AS run_id FROM operation_runs r \
             WHERE r.status = 'completed' AND r.holds_identity AND r.cooldown_until IS NULL",
        advice: "take the flag off these rows, nothing else ever would: UPDATE operation_runs SET holds_identity = FALSE \
             WHERE id = ID AND status = 'completed'",
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
    Check {
        guarantee: "G10",
        key: "restore_of_tenant",
        // A request may name a snapshot or a plan that is not the tenant's: it fails before it has a journal.
        what: "a restore's tenant is that of its run, and so are the snapshot and the plan that it carries out",
        of: "restore_runs r WHERE r.operation_run_id > $4",
        text: "SELECT x.operation_run_id AS run_id FROM restore_runs x JOIN operation_runs r \
             ON r.id = x.operation_run_id LEFT JOIN snapshots s ON s.id = x.snapshot_id \
             LEFT JOIN operation_runs p ON p.id = x.plan_run_id WHERE x.operation_run_id > $4 \
             AND (r.tenant_id IS NULL OR r.tenant_id <> x.tenant_id \
             OR ((s.tenant_id <> x.tenant_id OR p.tenant_id <> x.tenant_id) AND (x.outcome = 'succeeded' \
             OR EXISTS (SELECT 1 FROM restore_items i WHERE i.operation_run_id = x.operation_run_id))))",
        advice: "compare the tenant's policies with what these restores wrote, before anybody repeats or undoes them",
    },
    Check {
        guarantee: "G10",
        key: "schedule_of_workspace",
        what: "a schedule's tenant belongs to its workspace",
        of: "schedules r WHERE r.tenant_id IS NOT NULL",
        text: "SELECT CAST(0 AS bigint) AS run_id FROM schedules s WHERE s.tenant_id IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM tenants t WHERE t.id = s.tenant_id AND t.workspace_id = s.workspace_id)",
        advice: "remove them, and look at what they asked for: SELECT s.id, s.name, s.workspace_id, s.tenant_id FROM \
             schedules s WHERE s.tenant_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tenants t WHERE t.id = \
             s.tenant_id AND t.workspace_id = s.workspace_id)",
    },
];
