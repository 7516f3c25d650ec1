DROP TRIGGER operation_runs_failures_of_insert ON operation_runs;
DROP TRIGGER operation_runs_failures_of_update ON operation_runs;
DROP FUNCTION operation_runs_roll_failures_up();
DROP FUNCTION failures_of(JSONB);
DROP TABLE failure_days;
