DROP INDEX operation_runs_fetched;
CREATE INDEX operation_runs_fetched ON operation_runs (tenant_id, id)
    WHERE type = 'assignments.fetch' AND outcome = 'succeeded';
