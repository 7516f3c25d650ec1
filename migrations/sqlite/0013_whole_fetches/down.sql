DROP INDEX operation_runs_fetched;
CREATE INDEX operation_runs_fetched ON operation_runs (tenant_id, id)
    WHERE type = 'assignments.fetch' AND outcome = 'succeeded';
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('operation_runs', 'operation_runs_fetched', '900000 4500 1');
