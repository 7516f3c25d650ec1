-- What fetches read: snapshots with their items, assignment sets stored once, and each tenant's policies as last read.

-- RFC 8785 text, kept as text: it is what the hash was made of.
CREATE TABLE assignment_sets (
    hash text COLLATE "C" NOT NULL PRIMARY KEY,
    assignments text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT assignment_sets_hash_is_hex CHECK (hash ~ '^[0-9a-f]{64}$')
);

-- The adapter run of a fetch: one per claim that began to read.
CREATE TABLE snapshots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation_run_id bigint NOT NULL REFERENCES operation_runs (id),
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    lease_token bigint NOT NULL,
    state text NOT NULL,
    outcome text NOT NULL,
    summary_counts jsonb NOT NULL DEFAULT '{}',
    failure_summary jsonb NOT NULL DEFAULT '[]',
    coverage jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    CONSTRAINT snapshots_state_known CHECK (state IN ('building', 'finished', 'abandoned')),
    CONSTRAINT snapshots_outcome_known CHECK (outcome IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT snapshots_pending_while_building CHECK ((outcome = 'pending') = (state = 'building')),
    CONSTRAINT snapshots_completed_at_when_ended CHECK ((completed_at IS NULL) = (state = 'building')),
    CONSTRAINT snapshots_coverage_is_object CHECK (jsonb_typeof(coverage) = 'object')
);
CREATE UNIQUE INDEX snapshots_of_claim ON snapshots (operation_run_id, lease_token);
CREATE INDEX snapshots_of_tenant ON snapshots (tenant_id, id) WHERE state = 'finished';
CREATE INDEX snapshots_building ON snapshots (operation_run_id) WHERE state = 'building';

CREATE TABLE snapshot_items (
    snapshot_id bigint NOT NULL REFERENCES snapshots (id),
    policy_type text COLLATE "C" NOT NULL,
    policy_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    assignments_hash text COLLATE "C" NOT NULL REFERENCES assignment_sets (hash),
    PRIMARY KEY (snapshot_id, policy_type, policy_id)
);
CREATE INDEX snapshot_items_of_set ON snapshot_items (assignments_hash);

CREATE TABLE policies (
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    policy_type text COLLATE "C" NOT NULL,
    policy_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    assignments_hash text COLLATE "C" NOT NULL REFERENCES assignment_sets (hash),
    -- The snapshot that read it last, and when that ended.
    snapshot_id bigint NOT NULL REFERENCES snapshots (id),
    read_at timestamptz NOT NULL,
    -- Since when a complete list does not name it any more.
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, policy_type, policy_id)
);
