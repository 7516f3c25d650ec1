-- What fetches read: snapshots with their items, assignment sets stored once, and each tenant's policies as last read.

-- RFC 8785 text, kept as text: it is what the hash was made of.
CREATE TABLE assignment_sets (
    hash TEXT NOT NULL PRIMARY KEY,
    assignments TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT assignment_sets_hash_is_hex CHECK (length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*')
) STRICT;

-- The adapter run of a fetch: one per claim that began to read.
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
CREATE UNIQUE INDEX snapshots_of_claim ON snapshots (operation_run_id, lease_token);
CREATE INDEX snapshots_of_tenant ON snapshots (tenant_id, id) WHERE state = 'finished';
CREATE INDEX snapshots_building ON snapshots (operation_run_id) WHERE state = 'building';

CREATE TABLE snapshot_items (
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id),
    policy_type TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    name TEXT NOT NULL,
    assignments_hash TEXT NOT NULL REFERENCES assignment_sets (hash),
    PRIMARY KEY (snapshot_id, policy_type, policy_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_items_of_set ON snapshot_items (assignments_hash);

CREATE TABLE policies (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    policy_type TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    name TEXT NOT NULL,
    assignments_hash TEXT NOT NULL REFERENCES assignment_sets (hash),
    -- The snapshot that read it last, and when that ended.
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id),
    read_at INTEGER NOT NULL,
    -- Since when a complete list does not name it any more.
    deleted_at INTEGER,
    PRIMARY KEY (tenant_id, policy_type, policy_id)
) STRICT, WITHOUT ROWID;

-- As for the ledger: a long history, of which little is open.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('snapshots', 'snapshots_of_claim', '500000 2 1'),
    ('snapshots', 'snapshots_of_tenant', '500000 2500 1'),
    ('snapshots', 'snapshots_building', '100 1');
