DROP TRIGGER restore_items_ended_is_final;
DROP TABLE restore_items;
DROP TABLE restore_runs;

-- What the older schema cannot say is lost.
DELETE FROM snapshot_items WHERE snapshot_id IN (SELECT id FROM snapshots WHERE kind <> 'fetched');
DELETE FROM snapshots WHERE kind <> 'fetched';
PRAGMA defer_foreign_keys = ON;
CREATE TABLE snapshots_before AS SELECT * FROM snapshots;
CREATE TABLE snapshots_sequence AS SELECT seq FROM sqlite_sequence WHERE name = 'snapshots';
DROP TABLE snapshots;
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_run_id INTEGER NOT NULL REFERENCES operation_runs (id),
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    lease_token INTEGER NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL,
    summary_counts TEXT NOT NULL DEFAULT '{}',
    failure_summary TEXT NOT NULL DEFAULT '[]',
    coverage TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    CONSTRAINT snapshots_state_known CHECK (state IN ('building', 'finished', 'abandoned')),
    CONSTRAINT snapshots_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT snapshots_pending_while_building CHECK ((outcome = 'pending') = (state = 'building')),
    CONSTRAINT snapshots_completed_at_when_ended CHECK ((completed_at IS NULL) = (state = 'building')),
    CONSTRAINT snapshots_coverage_is_object CHECK (json_type(coverage) = 'object')
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
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('snapshots', 'snapshots_of_claim', '500000 2 1'),
    ('snapshots', 'snapshots_of_tenant', '500000 2500 1'),
    ('snapshots', 'snapshots_building', '100 1');
DROP INDEX policies_of_set;
DROP INDEX policies_of_snapshot;
