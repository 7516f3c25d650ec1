-- What people look for in lists, by an index each; and the sums that the overview shows.

-- Lists by what is rare: what is open, what failed, what is no fetch. Each costs the runs alone that it holds. In the
-- order of the list: what else is asked for is looked for in the index itself.
CREATE INDEX operation_runs_open ON operation_runs (id, workspace_id, type) WHERE status IN ('queued', 'running');
CREATE INDEX operation_runs_failed ON operation_runs (id, workspace_id, type) WHERE outcome = 'failed';
CREATE INDEX operation_runs_failed_tenant ON operation_runs (tenant_id, id) WHERE outcome = 'failed';
CREATE INDEX operation_runs_restores ON operation_runs (id, workspace_id) WHERE type = 'assignments.restore';
CREATE INDEX operation_runs_restores_tenant ON operation_runs (tenant_id, id) WHERE type = 'assignments.restore';
CREATE INDEX operation_runs_reconciles ON operation_runs (id, workspace_id) WHERE type = 'ops.reconcile_adapter_runs';
-- How fresh a tenant is: its newest fetch that succeeded.
CREATE INDEX operation_runs_fetched ON operation_runs (tenant_id, id)
    WHERE type = 'assignments.fetch' AND outcome = 'succeeded';
-- Runs over the last hours.
CREATE INDEX operation_runs_by_end ON operation_runs (completed_at, workspace_id, outcome) WHERE status = 'completed';

-- Runs over the last days: a row per tenant, so that two transactions never wait for each other in one, unless they end
-- runs of one tenant. The database itself adds to it when a run ends; retention leaves it.
CREATE TABLE run_days (
    -- Whole days since 1970, UTC, of completed_at.
    day BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    -- The tenant, or 0 for runs of a workspace: part of the key, so never NULL.
    tenant_key BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    PRIMARY KEY (day, workspace_id, tenant_key)
    -- Room in each page for the row's next version: a row is written again and again.
) WITH (fillfactor = 50);

INSERT INTO run_days (day, workspace_id, tenant_key, succeeded, failed)
SELECT floor(extract(epoch FROM completed_at) / 86400)::bigint AS of_day, workspace_id, coalesce(tenant_id, 0),
    count(*) FILTER (WHERE outcome = 'succeeded'), count(*) FILTER (WHERE outcome = 'failed')
FROM operation_runs WHERE status = 'completed' GROUP BY of_day, workspace_id, coalesce(tenant_id, 0);

CREATE FUNCTION operation_runs_count_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_days AS d (day, workspace_id, tenant_key, succeeded, failed)
    VALUES (floor(extract(epoch FROM NEW.completed_at) / 86400)::bigint, NEW.workspace_id, coalesce(NEW.tenant_id, 0),
        CASE WHEN NEW.outcome = 'succeeded' THEN 1 ELSE 0 END, CASE WHEN NEW.outcome = 'failed' THEN 1 ELSE 0 END)
    ON CONFLICT (day, workspace_id, tenant_key) DO UPDATE SET
        succeeded = d.succeeded + excluded.succeeded, failed = d.failed + excluded.failed;
    RETURN NULL;
END $$;
CREATE TRIGGER operation_runs_days_of_update AFTER UPDATE OF outcome ON operation_runs FOR EACH ROW
    WHEN (NEW.outcome <> 'pending' AND OLD.outcome = 'pending')
    EXECUTE FUNCTION operation_runs_count_days();
-- A run may come into the ledger with its end: an import.
CREATE TRIGGER operation_runs_days_of_insert AFTER INSERT ON operation_runs FOR EACH ROW
    WHEN (NEW.outcome <> 'pending')
    EXECUTE FUNCTION operation_runs_count_days();

-- Refused requests by the hour, written with the counts of the runs that absorbed them.
CREATE TABLE refused_hours (
    -- Whole hours since 1970, UTC.
    hour BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    PRIMARY KEY (hour, workspace_id)
);

-- What groups and filters of a tenant are called, as last read: for people alone, nothing is decided by it.
CREATE TABLE directory_names (
    tenant_id BIGINT NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    -- Lower case.
    object_id TEXT NOT NULL,
    name TEXT NOT NULL,
    read_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, kind, object_id),
    CONSTRAINT directory_names_kind_known CHECK (kind IN ('group', 'filter'))
);
