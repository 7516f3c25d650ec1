-- What restores do, policy by policy; and snapshots that no fetch made.

-- Whether a snapshot or a set is still needed.
CREATE INDEX policies_of_snapshot ON policies (snapshot_id);
CREATE INDEX policies_of_set ON policies (assignments_hash);

ALTER TABLE snapshots ALTER COLUMN operation_run_id DROP NOT NULL;
-- fetched by a run; imported from a file; or made of what a restore replaced, for its undo (lease token 0).
ALTER TABLE snapshots ADD COLUMN kind text NOT NULL DEFAULT 'fetched';
-- The directory that an imported one was read from; NULL is the tenant's own.
ALTER TABLE snapshots ADD COLUMN source_tenant uuid;
ALTER TABLE snapshots ADD COLUMN label text;
ALTER TABLE snapshots
    ADD CONSTRAINT snapshots_kind_known CHECK (kind IN ('fetched', 'imported', 'replaced')),
    ADD CONSTRAINT snapshots_without_run_when_imported CHECK ((operation_run_id IS NULL) = (kind = 'imported')),
    ADD CONSTRAINT snapshots_claim_when_fetched CHECK ((lease_token > 0) = (kind = 'fetched')),
    ADD CONSTRAINT snapshots_source_when_imported CHECK (source_tenant IS NULL OR kind = 'imported');
CREATE INDEX snapshots_abandoned ON snapshots (id) WHERE state = 'abandoned';

-- The adapter run of a restore: one per claim that began to plan.
CREATE TABLE restore_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation_run_id bigint NOT NULL REFERENCES operation_runs (id),
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    lease_token bigint NOT NULL,
    dry_run boolean NOT NULL,
    -- What it restores and whose plan it carries out, as the run's inputs say. No foreign keys: a request may name what
    -- is not there. Retention keeps both for as long as this row.
    snapshot_id bigint,
    plan_run_id bigint,
    state text NOT NULL,
    outcome text NOT NULL,
    summary_counts jsonb NOT NULL DEFAULT '{}',
    failure_summary jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    CONSTRAINT restore_runs_claimed CHECK (lease_token > 0),
    CONSTRAINT restore_runs_state_known CHECK (state IN ('building', 'finished', 'abandoned')),
    CONSTRAINT restore_runs_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT restore_runs_pending_while_building CHECK ((outcome = 'pending') = (state = 'building')),
    CONSTRAINT restore_runs_completed_at_when_ended CHECK ((completed_at IS NULL) = (state = 'building')),
    CONSTRAINT restore_runs_counts_are_object CHECK (jsonb_typeof(summary_counts) = 'object'),
    CONSTRAINT restore_runs_failures_are_array CHECK (jsonb_typeof(failure_summary) = 'array')
);
CREATE UNIQUE INDEX restore_runs_of_claim ON restore_runs (operation_run_id, lease_token);
CREATE INDEX restore_runs_building ON restore_runs (operation_run_id) WHERE state = 'building';
CREATE INDEX restore_runs_of_snapshot ON restore_runs (snapshot_id) WHERE snapshot_id IS NOT NULL;
CREATE INDEX restore_runs_of_plan ON restore_runs (plan_run_id) WHERE plan_run_id IS NOT NULL;

-- The journal of a restore: one row per policy of its run, whichever claims worked on it.
CREATE TABLE restore_items (
    operation_run_id bigint NOT NULL REFERENCES operation_runs (id),
    policy_type text COLLATE "C" NOT NULL,
    policy_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    -- The live set that is (or would be) replaced, what the policy is to have, what was sent, what was read back.
    base_hash text COLLATE "C" REFERENCES assignment_sets (hash),
    wanted_hash text COLLATE "C" REFERENCES assignment_sets (hash),
    sent_hash text COLLATE "C" REFERENCES assignment_sets (hash),
    verified_hash text COLLATE "C" REFERENCES assignment_sets (hash),
    -- What the policy had before the first write of this run; a later write of the run does not change it, so that undo
    -- puts back what was there before the run.
    replaced_hash text COLLATE "C" REFERENCES assignment_sets (hash),
    widens jsonb NOT NULL DEFAULT '[]',
    code text,
    message text,
    -- The calls that the plan foresees.
    calls bigint NOT NULL DEFAULT 0,
    sent_at timestamptz,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (operation_run_id, policy_type, policy_id),
    CONSTRAINT restore_items_state_known CHECK (state IN ('planned', 'sent', 'verified', 'skipped', 'failed')),
    CONSTRAINT restore_items_sent_over_a_stored_set
        CHECK (sent_hash IS NULL OR (base_hash IS NOT NULL AND replaced_hash IS NOT NULL)),
    CONSTRAINT restore_items_sent_at_when_sent CHECK ((sent_at IS NULL) = (sent_hash IS NULL)),
    CONSTRAINT restore_items_sent_before_verified
        CHECK (state NOT IN ('sent', 'verified') OR sent_hash IS NOT NULL),
    CONSTRAINT restore_items_verified_was_read CHECK (state <> 'verified' OR verified_hash IS NOT NULL),
    CONSTRAINT restore_items_unsent_while_planned
        CHECK (state NOT IN ('planned', 'skipped') OR (sent_hash IS NULL AND verified_hash IS NULL)),
    CONSTRAINT restore_items_failed_has_code CHECK ((state = 'failed') = (code IS NOT NULL)),
    CONSTRAINT restore_items_message_of_code CHECK ((code IS NULL) = (message IS NULL)),
    CONSTRAINT restore_items_widens_is_array CHECK (jsonb_typeof(widens) = 'array'),
    CONSTRAINT restore_items_calls_not_negative CHECK (calls >= 0)
);
CREATE INDEX restore_items_of_base ON restore_items (base_hash) WHERE base_hash IS NOT NULL;
CREATE INDEX restore_items_of_wanted ON restore_items (wanted_hash) WHERE wanted_hash IS NOT NULL;
CREATE INDEX restore_items_of_sent ON restore_items (sent_hash) WHERE sent_hash IS NOT NULL;
CREATE INDEX restore_items_of_verified ON restore_items (verified_hash) WHERE verified_hash IS NOT NULL;
CREATE INDEX restore_items_of_replaced ON restore_items (replaced_hash) WHERE replaced_hash IS NOT NULL;

-- What a restore found or made right stays so.
CREATE FUNCTION restore_items_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a verified or skipped item never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER restore_items_ended_is_final BEFORE UPDATE ON restore_items FOR EACH ROW
    WHEN (OLD.state IN ('verified', 'skipped'))
    EXECUTE FUNCTION restore_items_refuse_change();
