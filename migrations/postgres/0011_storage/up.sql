-- What a run and a heartbeat cost the server's log, and how long dead rows stay.

-- A heartbeat changes no column of an index, so that the new row stays on its page and no index is written.
DROP INDEX instances_live;
CREATE INDEX instances_live ON instances (id) WHERE stopped_at IS NULL;
DROP INDEX instances_newest;
CREATE INDEX instances_newest ON instances (started_at);

-- The same for the end of an attempt. Whoever looks for an open attempt knows its run, and a run has few.
DROP INDEX run_attempts_open;
-- Room on the page for the row's next version.
ALTER TABLE run_attempts SET (fillfactor = 80);
ALTER TABLE snapshots SET (fillfactor = 80);

-- Vacuum after thousands of dead rows, not after a fifth of a long history.
ALTER TABLE operation_runs SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE run_attempts SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
ALTER TABLE snapshots SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
