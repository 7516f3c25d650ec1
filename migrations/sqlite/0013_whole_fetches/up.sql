-- How fresh a tenant is says its newest fetch of everything: of those alone, so that the newest is found at once.

DROP INDEX operation_runs_fetched;
CREATE INDEX operation_runs_fetched ON operation_runs (tenant_id, id)
    WHERE type = 'assignments.fetch' AND outcome = 'succeeded'
    AND (context -> 'inputs' ->> 'policy_ids') IS NULL AND (context -> 'inputs' ->> 'policy_types') IS NULL;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('operation_runs', 'operation_runs_fetched', '900000 4500 1');
