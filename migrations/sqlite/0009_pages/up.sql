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
    day INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    -- The tenant, or 0 for runs of a workspace: part of the key, so never NULL.
    tenant_key INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (day, workspace_id, tenant_key)
) STRICT, WITHOUT ROWID;

INSERT INTO run_days (day, workspace_id, tenant_key, succeeded, failed)
SELECT completed_at / 86400000000, workspace_id, coalesce(tenant_id, 0), sum(outcome = 'succeeded'), sum(outcome = 'failed')
FROM operation_runs WHERE status = 'completed' GROUP BY 1, 2, 3;

CREATE TRIGGER operation_runs_days_of_update AFTER UPDATE OF outcome ON operation_runs FOR EACH ROW
    WHEN NEW.outcome <> 'pending' AND OLD.outcome = 'pending'
BEGIN
    INSERT INTO run_days (day, workspace_id, tenant_key, succeeded, failed)
    VALUES (NEW.completed_at / 86400000000, NEW.workspace_id, coalesce(NEW.tenant_id, 0),
        NEW.outcome = 'succeeded', NEW.outcome = 'failed')
    ON CONFLICT (day, workspace_id, tenant_key) DO UPDATE SET
        succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed;
END;

-- A run may come into the ledger with its end: an import.
CREATE TRIGGER operation_runs_days_of_insert AFTER INSERT ON operation_runs FOR EACH ROW
    WHEN NEW.outcome <> 'pending'
BEGIN
    INSERT INTO run_days (day, workspace_id, tenant_key, succeeded, failed)
    VALUES (NEW.completed_at / 86400000000, NEW.workspace_id, coalesce(NEW.tenant_id, 0),
        NEW.outcome = 'succeeded', NEW.outcome = 'failed')
    ON CONFLICT (day, workspace_id, tenant_key) DO UPDATE SET
        succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed;
END;

-- Refused requests by the hour, written with the counts of the runs that absorbed them.
CREATE TABLE refused_hours (
    -- Whole hours since 1970, UTC.
    hour INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (hour, workspace_id)
) STRICT, WITHOUT ROWID;

-- What groups and filters of a tenant are called, as last read: for people alone, nothing is decided by it.
CREATE TABLE directory_names (
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    kind TEXT NOT NULL,
    -- Lower case.
    object_id TEXT NOT NULL,
    name TEXT NOT NULL,
    read_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, kind, object_id),
    CONSTRAINT directory_names_kind_known CHECK (kind IN ('group', 'filter'))
) STRICT, WITHOUT ROWID;

-- As for the ledger: a long history, of which little is open and most has succeeded.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('operation_runs', 'operation_runs_open', '2000 1 1 1'),
    ('operation_runs', 'operation_runs_failed', '20000 1 1 1'),
    ('operation_runs', 'operation_runs_failed_tenant', '20000 100 1'),
    ('operation_runs', 'operation_runs_restores', '20000 1 1'),
    ('operation_runs', 'operation_runs_restores_tenant', '20000 100 1'),
    ('operation_runs', 'operation_runs_reconciles', '100000 1 1'),
    ('operation_runs', 'operation_runs_fetched', '900000 4500 1'),
    ('operation_runs', 'operation_runs_by_end', '1000000 2 2 1');
