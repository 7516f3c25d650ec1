DROP INDEX operation_runs_owned;
