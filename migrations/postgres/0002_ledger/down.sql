DROP TABLE run_attempts;
DROP TRIGGER operation_runs_holder_stays ON operation_runs;
DROP TRIGGER operation_runs_completed_is_final ON operation_runs;
DROP TABLE operation_runs;
DROP FUNCTION operation_runs_refuse_delete();
DROP FUNCTION operation_runs_refuse_change();
