DROP TABLE run_attempts;
DROP TRIGGER operation_runs_holder_stays;
DROP TRIGGER operation_runs_completed_is_final;
DROP TABLE operation_runs;
