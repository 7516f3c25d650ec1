-- The ledger: one row per accepted request, and one row per attempt to carry it out.

CREATE TABLE operation_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    tenant_id bigint,
    user_id bigint REFERENCES users (id),
    initiator_name text NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    outcome text NOT NULL,
    run_identity_hash text COLLATE "C" NOT NULL,
    summary_counts jsonb NOT NULL DEFAULT '{}',
    failure_summary jsonb NOT NULL DEFAULT '[]',
    context jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Tries used up so far; a run that was handed back gives its try back.
    attempt integer NOT NULL DEFAULT 0,
    -- Smaller goes first within a tenant: restores before fetches.
    priority smallint NOT NULL,
    next_attempt_at timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    -- The fencing token of the latest claim: every claim of the run takes a larger one.
    lease_token bigint NOT NULL DEFAULT 0,
    lease_owner uuid REFERENCES instances (id),
    cooldown_until timestamptz,
    -- True while active, and after that until the cooldown has been taken over.
    holds_identity boolean NOT NULL DEFAULT TRUE,
    duplicate_count bigint NOT NULL DEFAULT 0,
    last_duplicate_at timestamptz,
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
    CONSTRAINT operation_runs_hash_is_hex CHECK (run_identity_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT operation_runs_succeeded_without_failures
        CHECK (outcome <> 'succeeded' OR failure_summary = '[]'),
    CONSTRAINT operation_runs_counts_are_object CHECK (jsonb_typeof(summary_counts) = 'object'),
    CONSTRAINT operation_runs_failures_are_array CHECK (jsonb_typeof(failure_summary) = 'array'),
    CONSTRAINT operation_runs_context_is_object CHECK (jsonb_typeof(context) = 'object'),
    CONSTRAINT operation_runs_numbers_not_negative
        CHECK (attempt >= 0 AND lease_token >= 0 AND duplicate_count >= 0)
);

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
    run_id bigint NOT NULL REFERENCES operation_runs (id),
    -- Counts from 1; a hand-back's successor has the same number.
    attempt integer NOT NULL,
    lease_token bigint NOT NULL,
    instance_id uuid NOT NULL REFERENCES instances (id),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    outcome text NOT NULL,
    -- The first failure's code, or run.stale_attempt_result.
    code text,
    -- Why it was handed back.
    hand_back_reason text,
    summary_counts jsonb NOT NULL DEFAULT '{}',
    failure_summary jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (run_id, lease_token),
    CONSTRAINT run_attempts_outcome_known CHECK (outcome IN
        ('running', 'succeeded', 'failed', 'retried', 'handed_back', 'lease_expired', 'stale')),
    CONSTRAINT run_attempts_ended_when_not_running CHECK ((ended_at IS NULL) = (outcome = 'running')),
    CONSTRAINT run_attempts_attempt_from_one CHECK (attempt >= 1)
);
CREATE INDEX run_attempts_open ON run_attempts (run_id) WHERE outcome = 'running';

-- A completed run never changes again, except for its holding flag (which it can only lose) and its count of refused
-- requests. Everything else is named here, so that a new column is guarded only after a thought.
CREATE FUNCTION operation_runs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a completed run never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER operation_runs_completed_is_final BEFORE UPDATE ON operation_runs FOR EACH ROW
    WHEN (OLD.status = 'completed' AND ((NEW.holds_identity AND NOT OLD.holds_identity) OR
        (NEW.id, NEW.workspace_id, NEW.tenant_id, NEW.user_id, NEW.initiator_name, NEW.type,
        NEW.status, NEW.outcome, NEW.run_identity_hash, NEW.summary_counts, NEW.failure_summary, NEW.context,
        NEW.started_at, NEW.completed_at, NEW.created_at, NEW.updated_at, NEW.attempt, NEW.priority,
        NEW.next_attempt_at, NEW.cancel_requested_at, NEW.cancel_requested_by, NEW.lease_token, NEW.lease_owner, NEW.cooldown_until) IS DISTINCT FROM
        (OLD.id, OLD.workspace_id, OLD.tenant_id, OLD.user_id, OLD.initiator_name, OLD.type,
        OLD.status, OLD.outcome, OLD.run_identity_hash, OLD.summary_counts, OLD.failure_summary, OLD.context,
        OLD.started_at, OLD.completed_at, OLD.created_at, OLD.updated_at, OLD.attempt, OLD.priority,
        OLD.next_attempt_at, OLD.cancel_requested_at, OLD.cancel_requested_by, OLD.lease_token, OLD.lease_owner, OLD.cooldown_until)))
    EXECUTE FUNCTION operation_runs_refuse_change();

-- Pruning never removes a row that still holds an identity.
CREATE FUNCTION operation_runs_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a run that holds its identity is never deleted' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER operation_runs_holder_stays BEFORE DELETE ON operation_runs FOR EACH ROW
    WHEN (OLD.holds_identity)
    EXECUTE FUNCTION operation_runs_refuse_delete();
