-- Failures rolled up by day, so that a question about them reads some thousand rows and not the history of runs. The
-- database itself adds to it when a run ends as failed: in the same transaction, on every way to an end, and at no cost
-- for runs that succeed. Two transactions meet in a row only where they end runs of one tenant (or one workspace) at a
-- time, and take the rows in the order of codes.

CREATE TABLE failure_days (
    -- Whole days since 1970, UTC, of completed_at.
    day BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    type TEXT NOT NULL,
    -- The tenant, or 0 for runs of a workspace: part of the key, so never NULL.
    tenant_key BIGINT NOT NULL,
    code TEXT NOT NULL,
    -- Runs with the code, and those among them whose first code it is: every failed run counts once in these.
    runs BIGINT NOT NULL,
    runs_first BIGINT NOT NULL,
    -- As the messages tell, "… (12 items)"; one where they do not.
    items BIGINT NOT NULL,
    first_at TIMESTAMPTZ NOT NULL,
    last_at TIMESTAMPTZ NOT NULL,
    -- No foreign key: pruning may remove the run and leave the count.
    last_run_id BIGINT NOT NULL,
    PRIMARY KEY (day, workspace_id, type, tenant_key, code)
);

-- The failures of one run: a row per code.
CREATE FUNCTION failures_of(summary JSONB) RETURNS TABLE (code TEXT, is_first BIGINT, items BIGINT)
LANGUAGE sql IMMUTABLE AS $$
    SELECT f.entry ->> 'code', max(CASE WHEN f.place = 1 THEN 1 ELSE 0 END)::bigint,
        sum(coalesce(substring(f.entry ->> 'message' FROM ' \(([1-9][0-9]{0,8}) items\)$')::bigint, 1))::bigint
    FROM jsonb_array_elements(summary) WITH ORDINALITY AS f (entry, place)
    WHERE f.entry ->> 'code' IS NOT NULL
    GROUP BY f.entry ->> 'code' ORDER BY f.entry ->> 'code'
$$;

-- What has failed until now.
INSERT INTO failure_days (day, workspace_id, type, tenant_key, code, runs, runs_first, items, first_at, last_at, last_run_id)
SELECT floor(extract(epoch FROM r.completed_at) / 86400)::bigint AS of_day, r.workspace_id, r.type, coalesce(r.tenant_id, 0), f.code,
    count(*), sum(f.is_first), sum(f.items), min(r.completed_at), max(r.completed_at), max(r.id)
FROM operation_runs r CROSS JOIN LATERAL failures_of(r.failure_summary) f
WHERE r.outcome = 'failed'
GROUP BY of_day, r.workspace_id, r.type, coalesce(r.tenant_id, 0), f.code;

CREATE FUNCTION operation_runs_roll_failures_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO failure_days AS d (day, workspace_id, type, tenant_key, code, runs, runs_first, items, first_at, last_at, last_run_id)
    SELECT floor(extract(epoch FROM NEW.completed_at) / 86400)::bigint, NEW.workspace_id, NEW.type, coalesce(NEW.tenant_id, 0),
        f.code, 1, f.is_first, f.items, NEW.completed_at, NEW.completed_at, NEW.id
    FROM failures_of(NEW.failure_summary) f
    ORDER BY f.code
    ON CONFLICT (day, workspace_id, type, tenant_key, code) DO UPDATE SET
        runs = d.runs + excluded.runs, runs_first = d.runs_first + excluded.runs_first, items = d.items + excluded.items,
        first_at = least(d.first_at, excluded.first_at), last_at = greatest(d.last_at, excluded.last_at),
        last_run_id = greatest(d.last_run_id, excluded.last_run_id);
    RETURN NULL;
END $$;
CREATE TRIGGER operation_runs_failures_of_update AFTER UPDATE OF outcome ON operation_runs FOR EACH ROW
    WHEN (NEW.outcome = 'failed' AND OLD.outcome <> 'failed')
    EXECUTE FUNCTION operation_runs_roll_failures_up();
-- A run may come into the ledger with its end: an import.
CREATE TRIGGER operation_runs_failures_of_insert AFTER INSERT ON operation_runs FOR EACH ROW
    WHEN (NEW.outcome = 'failed')
    EXECUTE FUNCTION operation_runs_roll_failures_up();
