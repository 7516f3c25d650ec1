-- What restores do, policy by policy; and snapshots that no fetch made.

-- Whether a snapshot or a set is still needed.
CREATE INDEX policies_of_snapshot ON policies (snapshot_id);
CREATE INDEX policies_of_set ON policies (assignments_hash);

-- SQLite cannot take a NOT NULL away, so the table is made anew, under its own name so that what refers to it still
-- does. Foreign keys are deferred: the rows are back before the transaction ends, and it cannot end without them.
PRAGMA defer_foreign_keys = ON;
CREATE TABLE snapshots_before AS SELECT * FROM snapshots;
CREATE TABLE snapshots_sequence AS SELECT seq FROM sqlite_sequence WHERE name = 'snapshots';
DROP TABLE snapshots;
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_run_id INTEGER REFERENCES operation_runs (id),
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    lease_token INTEGER NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL,
    summary_counts TEXT NOT NULL DEFAULT '{}',
    failure_summary TEXT NOT NULL DEFAULT '[]',
    coverage TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    -- fetched by a run; imported from a file; or made of what a restore replaced, for its undo (lease token 0).
    kind TEXT NOT NULL DEFAULT 'fetched',
    -- The directory that an imported one was read from; NULL is the tenant's own.
    source_tenant BLOB,
    label TEXT,
    CONSTRAINT snapshots_state_known CHECK (state IN ('building', 'finished', 'abandoned')),
    CONSTRAINT snapshots_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT snapshots_pending_while_building CHECK ((outcome = 'pending') = (state = 'building')),
    CONSTRAINT snapshots_completed_at_when_ended CHECK ((completed_at IS NULL) = (state = 'building')),
    CONSTRAINT snapshots_coverage_is_object CHECK (json_type(coverage) = 'object'),
    CONSTRAINT snapshots_kind_known CHECK (kind IN ('fetched', 'imported', 'replaced')),
    CONSTRAINT snapshots_without_run_when_imported CHECK ((operation_run_id IS NULL) = (kind = 'imported')),
    CONSTRAINT snapshots_claim_when_fetched CHECK ((lease_token > 0) = (kind = 'fetched')),
    CONSTRAINT snapshots_source_when_imported CHECK (source_tenant IS NULL OR kind = 'imported'),
    CONSTRAINT snapshots_source_is_uuid CHECK (source_tenant IS NULL OR length(source_tenant) = 16)
) STRICT;
INSERT INTO snapshots (id, operation_run_id, tenant_id, lease_token, state, outcome, summary_counts,
    failure_summary, coverage, created_at, completed_at)
    SELECT id, operation_run_id, tenant_id, lease_token, state, outcome, summary_counts,
        failure_summary, coverage, created_at, completed_at
    FROM snapshots_before;
-- No id is ever given twice, also none of a row that was removed.
DELETE FROM sqlite_sequence WHERE name = 'snapshots';
INSERT INTO sqlite_sequence (name, seq) SELECT 'snapshots', seq FROM snapshots_sequence;
DROP TABLE snapshots_before;
DROP TABLE snapshots_sequence;
CREATE UNIQUE INDEX snapshots_of_claim ON snapshots (operation_run_id, lease_token);
CREATE INDEX snapshots_of_tenant ON snapshots (tenant_id, id) WHERE state = 'finished';
CREATE INDEX snapshots_building ON snapshots (operation_run_id) WHERE state = 'building';
CREATE INDEX snapshots_abandoned ON snapshots (id) WHERE state = 'abandoned';

-- The adapter run of a restore: one per claim that began to plan.
CREATE TABLE restore_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_run_id INTEGER NOT NULL REFERENCES operation_runs (id),
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    lease_token INTEGER NOT NULL,
    dry_run INTEGER NOT NULL,
    -- What it restores and whose plan it carries out, as the run's inputs say. No foreign keys: a request may name what
    -- is not there. Retention keeps both for as long as this row.
    snapshot_id INTEGER,
    plan_run_id INTEGER,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL,
    summary_counts TEXT NOT NULL DEFAULT '{}',
    failure_summary TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    CONSTRAINT restore_runs_claimed CHECK (lease_token > 0),
    CONSTRAINT restore_runs_dry_run_is_boolean CHECK (dry_run IN (FALSE, TRUE)),
    CONSTRAINT restore_runs_state_known CHECK (state IN ('building', 'finished', 'abandoned')),
    CONSTRAINT restore_runs_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT restore_runs_pending_while_building CHECK ((outcome = 'pending') = (state = 'building')),
    CONSTRAINT restore_runs_completed_at_when_ended CHECK ((completed_at IS NULL) = (state = 'building')),
    CONSTRAINT restore_runs_counts_are_object CHECK (json_type(summary_counts) = 'object'),
    CONSTRAINT restore_runs_failures_are_array CHECK (json_type(failure_summary) = 'array')
) STRICT;
CREATE UNIQUE INDEX restore_runs_of_claim ON restore_runs (operation_run_id, lease_token);
CREATE INDEX restore_runs_building ON restore_runs (operation_run_id) WHERE state = 'building';
CREATE INDEX restore_runs_of_snapshot ON restore_runs (snapshot_id) WHERE snapshot_id IS NOT NULL;
CREATE INDEX restore_runs_of_plan ON restore_runs (plan_run_id) WHERE plan_run_id IS NOT NULL;

-- The journal of a restore: one row per policy of its run, whichever claims worked on it.
CREATE TABLE restore_items (
    operation_run_id INTEGER NOT NULL REFERENCES operation_runs (id),
    policy_type TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    -- The live set that is (or would be) replaced, what the policy is to have, what was sent, what was read back.
    base_hash TEXT REFERENCES assignment_sets (hash),
    wanted_hash TEXT REFERENCES assignment_sets (hash),
    sent_hash TEXT REFERENCES assignment_sets (hash),
    verified_hash TEXT REFERENCES assignment_sets (hash),
    -- What the policy had before the first write of this run; a later write of the run does not change it, so that undo
    -- puts back what was there before the run.
    replaced_hash TEXT REFERENCES assignment_sets (hash),
    widens TEXT NOT NULL DEFAULT '[]',
    code TEXT,
    message TEXT,
    -- The calls that the plan foresees.
    calls INTEGER NOT NULL DEFAULT 0,
    sent_at INTEGER,
    updated_at INTEGER NOT NULL,
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
    CONSTRAINT restore_items_widens_is_array CHECK (json_type(widens) = 'array'),
    CONSTRAINT restore_items_calls_not_negative CHECK (calls >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX restore_items_of_base ON restore_items (base_hash) WHERE base_hash IS NOT NULL;
CREATE INDEX restore_items_of_wanted ON restore_items (wanted_hash) WHERE wanted_hash IS NOT NULL;
CREATE INDEX restore_items_of_sent ON restore_items (sent_hash) WHERE sent_hash IS NOT NULL;
CREATE INDEX restore_items_of_verified ON restore_items (verified_hash) WHERE verified_hash IS NOT NULL;
CREATE INDEX restore_items_of_replaced ON restore_items (replaced_hash) WHERE replaced_hash IS NOT NULL;

-- What a restore found or made right stays so.
CREATE TRIGGER restore_items_ended_is_final BEFORE UPDATE ON restore_items FOR EACH ROW
    WHEN OLD.state IN ('verified', 'skipped')
BEGIN
    SELECT RAISE(ABORT, 'a verified or skipped item never changes');
END;

-- As for the ledger: a long history, of which little is open.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('snapshots', 'snapshots_of_claim', '500000 2 1'),
    ('snapshots', 'snapshots_of_tenant', '500000 2500 1'),
    ('snapshots', 'snapshots_building', '100 1'),
    ('snapshots', 'snapshots_abandoned', '100 1'),
    ('restore_runs', 'restore_runs_of_claim', '100000 2 1'),
    ('restore_runs', 'restore_runs_building', '100 1'),
    ('policies', 'policies_of_snapshot', '1000000 1000');
