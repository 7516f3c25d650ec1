DELETE FROM sqlite_stat1 WHERE idx = 'operation_runs_owned';
DROP INDEX operation_runs_owned;
