-- Failures rolled up by day, so that a question about them reads some thousand rows and not the history of runs. The
-- database itself adds to it when a run ends as failed: in the same transaction, on every way to an end, and at no cost
-- for runs that succeed.

CREATE TABLE failure_days (
    -- Whole days since 1970, UTC, of completed_at.
    day INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    type TEXT NOT NULL,
    -- The tenant, or 0 for runs of a workspace: part of the key, so never NULL.
    tenant_key INTEGER NOT NULL,
    code TEXT NOT NULL,
    -- Runs with the code, and those among them whose first code it is: every failed run counts once in these.
    runs INTEGER NOT NULL,
    runs_first INTEGER NOT NULL,
    -- As the messages tell, "… (12 items)"; one where they do not.
    items INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    -- No foreign key: pruning may remove the run and leave the count.
    last_run_id INTEGER NOT NULL,
    PRIMARY KEY (day, workspace_id, type, tenant_key, code)
) STRICT, WITHOUT ROWID;

-- What has failed until now.
INSERT INTO failure_days (day, workspace_id, type, tenant_key, code, runs, runs_first, items, first_at, last_at, last_run_id)
SELECT day, workspace_id, type, tenant_key, code, count(*), sum(is_first), sum(items), min(completed_at), max(completed_at), max(id)
FROM (
    SELECT f.id, f.completed_at / 86400000000 AS day, f.workspace_id, f.type, coalesce(f.tenant_id, 0) AS tenant_key,
        f.completed_at, f.code, max(f.key = 0) AS is_first,
        sum(CASE WHEN f.message GLOB '* ([1-9]* items)' AND f.before GLOB '* (' AND length(f.stem) - length(f.before) <= 9
            THEN CAST(substr(f.stem, length(f.before) + 1) AS INTEGER) ELSE 1 END) AS items
    FROM (
        SELECT e.*, rtrim(e.stem, '0123456789') AS before FROM (
            SELECT r.id, r.completed_at, r.workspace_id, r.type, r.tenant_id, j.value ->> 'code' AS code, j.key,
                j.value ->> 'message' AS message, rtrim(j.value ->> 'message', ' items)') AS stem
            FROM operation_runs r, json_each(r.failure_summary) j WHERE r.outcome = 'failed') e
        WHERE e.code IS NOT NULL) f
    GROUP BY f.id, f.code
)
GROUP BY day, workspace_id, type, tenant_key, code;

CREATE TRIGGER operation_runs_failures_of_update AFTER UPDATE OF outcome ON operation_runs FOR EACH ROW
    WHEN NEW.outcome = 'failed' AND OLD.outcome <> 'failed'
BEGIN
    INSERT INTO failure_days (day, workspace_id, type, tenant_key, code, runs, runs_first, items, first_at, last_at, last_run_id)
    SELECT NEW.completed_at / 86400000000, NEW.workspace_id, NEW.type, coalesce(NEW.tenant_id, 0), f.code, 1, max(f.key = 0),
        sum(CASE WHEN f.message GLOB '* ([1-9]* items)' AND f.before GLOB '* (' AND length(f.stem) - length(f.before) <= 9
            THEN CAST(substr(f.stem, length(f.before) + 1) AS INTEGER) ELSE 1 END),
        NEW.completed_at, NEW.completed_at, NEW.id
    FROM (
        SELECT e.code, e.key, e.message, e.stem, rtrim(e.stem, '0123456789') AS before FROM (
            SELECT j.value ->> 'code' AS code, j.key, j.value ->> 'message' AS message,
                rtrim(j.value ->> 'message', ' items)') AS stem
            FROM json_each(NEW.failure_summary) j) e
        WHERE e.code IS NOT NULL) f
    GROUP BY f.code
    ON CONFLICT (day, workspace_id, type, tenant_key, code) DO UPDATE SET
        runs = runs + excluded.runs, runs_first = runs_first + excluded.runs_first, items = items + excluded.items,
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
        last_run_id = max(last_run_id, excluded.last_run_id);
END;

-- A run may come into the ledger with its end: an import.
CREATE TRIGGER operation_runs_failures_of_insert AFTER INSERT ON operation_runs FOR EACH ROW
    WHEN NEW.outcome = 'failed'
BEGIN
    INSERT INTO failure_days (day, workspace_id, type, tenant_key, code, runs, runs_first, items, first_at, last_at, last_run_id)
    SELECT NEW.completed_at / 86400000000, NEW.workspace_id, NEW.type, coalesce(NEW.tenant_id, 0), f.code, 1, max(f.key = 0),
        sum(CASE WHEN f.message GLOB '* ([1-9]* items)' AND f.before GLOB '* (' AND length(f.stem) - length(f.before) <= 9
            THEN CAST(substr(f.stem, length(f.before) + 1) AS INTEGER) ELSE 1 END),
        NEW.completed_at, NEW.completed_at, NEW.id
    FROM (
        SELECT e.code, e.key, e.message, e.stem, rtrim(e.stem, '0123456789') AS before FROM (
            SELECT j.value ->> 'code' AS code, j.key, j.value ->> 'message' AS message,
                rtrim(j.value ->> 'message', ' items)') AS stem
            FROM json_each(NEW.failure_summary) j) e
        WHERE e.code IS NOT NULL) f
    GROUP BY f.code
    ON CONFLICT (day, workspace_id, type, tenant_key, code) DO UPDATE SET
        runs = runs + excluded.runs, runs_first = runs_first + excluded.runs_first, items = items + excluded.items,
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
        last_run_id = max(last_run_id, excluded.last_run_id);
END;
