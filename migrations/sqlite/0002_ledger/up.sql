-- The ledger: one row per accepted request, and one row per attempt to carry it out.
-- Instants are whole microseconds since 1970, JSON is text, booleans are 0 and 1.

CREATE TABLE operation_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    tenant_id INTEGER,
    user_id INTEGER REFERENCES users (id),
    initiator_name TEXT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT NOT NULL,
    run_identity_hash TEXT NOT NULL,
    summary_counts TEXT NOT NULL DEFAULT '{}',
    failure_summary TEXT NOT NULL DEFAULT '[]',
    context TEXT NOT NULL DEFAULT '{}',
    started_at INTEGER,
    completed_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Tries used up so far; a run that was handed back gives its try back.
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Smaller goes first within a tenant: restores before fetches.
    priority INTEGER NOT NULL,
    next_attempt_at INTEGER,
    cancel_requested_at INTEGER,
    cancel_requested_by TEXT,
    -- The fencing token of the latest claim: every claim of the run takes a larger one.
    lease_token INTEGER NOT NULL DEFAULT 0,
    lease_owner BLOB REFERENCES instances (id),
    cooldown_until INTEGER,
    -- True while active, and after that until the cooldown has been taken over.
    holds_identity INTEGER NOT NULL DEFAULT TRUE,
    duplicate_count INTEGER NOT NULL DEFAULT 0,
    last_duplicate_at INTEGER,
    CONSTRAINT operation_runs_tenant_of_workspace
        FOREIGN KEY (tenant_id, workspace_id) REFERENCES tenants (id, workspace_id),
    CONSTRAINT operation_runs_type_known
        CHECK (type IN ('assignments.fetch', 'assignments.restore', 'ops.reconcile_adapter_runs')),
    CONSTRAINT operation_runs_scope_of_type
        CHECK ((type = 'ops.reconcile_adapter_runs') = (tenant_id IS NULL)),
    CONSTRAINT operation_runs_status_known CHECK (status IN ('queued', 'running', 'completed')),
    CONSTRAINT operation_runs_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT operation_runs_pending_while_not_completed
        CHECK ((outcome = 'pending') = (status <> 'completed')),
    CONSTRAINT operation_runs_completed_at_when_completed
        CHECK ((completed_at IS NOT NULL) = (status = 'completed')),
    CONSTRAINT operation_runs_owner_while_running
        CHECK ((lease_owner IS NOT NULL) = (status = 'running')),
    CONSTRAINT operation_runs_running_has_begun
        CHECK (status <> 'running' OR (started_at IS NOT NULL AND lease_token > 0)),
    CONSTRAINT operation_runs_cooldown_when_completed
        CHECK (cooldown_until IS NULL OR status = 'completed'),
    CONSTRAINT operation_runs_active_holds_identity CHECK (status = 'completed' OR holds_identity),
    CONSTRAINT operation_runs_completed_holds_in_cooldown
        CHECK (status <> 'completed' OR NOT holds_identity OR cooldown_until IS NOT NULL),
    CONSTRAINT operation_runs_hash_is_hex CHECK (length(run_identity_hash) = 64 AND run_identity_hash NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT operation_runs_succeeded_without_failures
        CHECK (outcome <> 'succeeded' OR failure_summary = '[]'),
    CONSTRAINT operation_runs_counts_are_object CHECK (json_type(summary_counts) = 'object'),
    CONSTRAINT operation_runs_failures_are_array CHECK (json_type(failure_summary) = 'array'),
    CONSTRAINT operation_runs_context_is_object CHECK (json_type(context) = 'object'),
    CONSTRAINT operation_runs_holds_identity_is_boolean CHECK (holds_identity IN (FALSE, TRUE)),
    CONSTRAINT operation_runs_numbers_not_negative
        CHECK (attempt >= 0 AND lease_token >= 0 AND duplicate_count >= 0)
) STRICT;

-- One active run per identity (SPEC section 2, indexes 1 and 2).
CREATE UNIQUE INDEX operation_runs_active_tenant ON operation_runs (tenant_id, run_identity_hash)
    WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX operation_runs_active_workspace ON operation_runs (workspace_id, run_identity_hash)
    WHERE tenant_id IS NULL AND status IN ('queued', 'running');

-- One holder per identity: what makes the cooldown hold across processes.
CREATE UNIQUE INDEX operation_runs_holder_tenant ON operation_runs (tenant_id, run_identity_hash)
    WHERE holds_identity;
CREATE UNIQUE INDEX operation_runs_holder_workspace ON operation_runs (workspace_id, run_identity_hash)
    WHERE tenant_id IS NULL AND holds_identity;

-- A tenant's runs execute one at a time. Claims look first and never run into this.
CREATE UNIQUE INDEX operation_runs_one_running ON operation_runs (tenant_id)
    WHERE status = 'running' AND tenant_id IS NOT NULL;

-- The queue, in the order of execution.
CREATE INDEX operation_runs_queue ON operation_runs (tenant_id, priority, id) WHERE status = 'queued';
-- What an instance executes.
CREATE INDEX operation_runs_of_owner ON operation_runs (lease_owner) WHERE status = 'running';
-- Holders whose cooldown ends.
CREATE INDEX operation_runs_cooling ON operation_runs (cooldown_until)
    WHERE holds_identity AND status = 'completed';
-- Lists, newest first.
CREATE INDEX operation_runs_of_workspace ON operation_runs (workspace_id, id);
CREATE INDEX operation_runs_of_tenant ON operation_runs (tenant_id, id);
-- The history of an identity. Only of completed runs: an index in the order of hashes touches a page per row, and
-- admission is to pay for the unique ones alone; the active runs of an identity are few.
CREATE INDEX operation_runs_of_identity ON operation_runs (run_identity_hash, id) WHERE status = 'completed';
-- Whether a tenant's queue moves.
CREATE INDEX operation_runs_ended ON operation_runs (tenant_id, completed_at) WHERE status = 'completed';

CREATE TABLE run_attempts (
    run_id INTEGER NOT NULL REFERENCES operation_runs (id),
    -- Counts from 1; a hand-back's successor has the same number.
    attempt INTEGER NOT NULL,
    lease_token INTEGER NOT NULL,
    instance_id BLOB NOT NULL REFERENCES instances (id),
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT NOT NULL,
    -- The first failure's code, or run.stale_attempt_result.
    code TEXT,
    -- Why it was handed back.
    hand_back_reason TEXT,
    summary_counts TEXT NOT NULL DEFAULT '{}',
    failure_summary TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (run_id, lease_token),
    CONSTRAINT run_attempts_outcome_known CHECK (outcome IN
        ('running', 'succeeded', 'failed', 'retried', 'handed_back', 'lease_expired', 'stale')),
    CONSTRAINT run_attempts_ended_when_not_running CHECK ((ended_at IS NULL) = (outcome = 'running')),
    CONSTRAINT run_attempts_attempt_from_one CHECK (attempt >= 1)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_attempts_open ON run_attempts (run_id) WHERE outcome = 'running';

-- A completed run never changes again, except for its holding flag (which it can only lose) and its count of refused
-- requests. Everything else is named here, so that a new column is guarded only after a thought.
CREATE TRIGGER operation_runs_completed_is_final BEFORE UPDATE ON operation_runs FOR EACH ROW
    WHEN OLD.status = 'completed' AND ((NEW.holds_identity AND NOT OLD.holds_identity)
        OR NEW.id IS NOT OLD.id
        OR NEW.workspace_id IS NOT OLD.workspace_id
        OR NEW.tenant_id IS NOT OLD.tenant_id
        OR NEW.user_id IS NOT OLD.user_id
        OR NEW.initiator_name IS NOT OLD.initiator_name
        OR NEW.type IS NOT OLD.type
        OR NEW.status IS NOT OLD.status
        OR NEW.outcome IS NOT OLD.outcome
        OR NEW.run_identity_hash IS NOT OLD.run_identity_hash
        OR NEW.summary_counts IS NOT OLD.summary_counts
        OR NEW.failure_summary IS NOT OLD.failure_summary
        OR NEW.context IS NOT OLD.context
        OR NEW.started_at IS NOT OLD.started_at
        OR NEW.completed_at IS NOT OLD.completed_at
        OR NEW.created_at IS NOT OLD.created_at
        OR NEW.updated_at IS NOT OLD.updated_at
        OR NEW.attempt IS NOT OLD.attempt
        OR NEW.priority IS NOT OLD.priority
        OR NEW.next_attempt_at IS NOT OLD.next_attempt_at
        OR NEW.cancel_requested_at IS NOT OLD.cancel_requested_at
        OR NEW.cancel_requested_by IS NOT OLD.cancel_requested_by
        OR NEW.lease_token IS NOT OLD.lease_token
        OR NEW.lease_owner IS NOT OLD.lease_owner
        OR NEW.cooldown_until IS NOT OLD.cooldown_until)
BEGIN
    SELECT RAISE(ABORT, 'a completed run never changes');
END;

-- Pruning never removes a row that still holds an identity.
CREATE TRIGGER operation_runs_holder_stays BEFORE DELETE ON operation_runs FOR EACH ROW
    WHEN OLD.holds_identity
BEGIN
    SELECT RAISE(ABORT, 'a run that holds its identity is never deleted');
END;

-- What the planner is to think of these tables, whatever they hold today: a long history, a short queue. Without it, it
-- takes the history for as short as the queue and reads all of it to find what is due. Never run ANALYZE here.
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('operation_runs', 'operation_runs_active_tenant', '2000 20 1'),
    ('operation_runs', 'operation_runs_active_workspace', '20 2 1'),
    ('operation_runs', 'operation_runs_holder_tenant', '4000 40 1'),
    ('operation_runs', 'operation_runs_holder_workspace', '20 2 1'),
    ('operation_runs', 'operation_runs_one_running', '100 1'),
    ('operation_runs', 'operation_runs_queue', '2000 20 10 1'),
    ('operation_runs', 'operation_runs_of_owner', '100 50'),
    ('operation_runs', 'operation_runs_cooling', '2000 1'),
    ('operation_runs', 'operation_runs_of_workspace', '1000000 50000 1'),
    ('operation_runs', 'operation_runs_of_tenant', '1000000 5000 1'),
    ('operation_runs', 'operation_runs_of_identity', '1000000 1000 1'),
    ('operation_runs', 'operation_runs_ended', '1000000 5000 1'),
    ('run_attempts', 'run_attempts_open', '100 1');
