ALTER TABLE snapshots RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE run_attempts RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE operation_runs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
CREATE INDEX run_attempts_open ON run_attempts (run_id) WHERE outcome = 'running';
DROP INDEX instances_newest;
CREATE INDEX instances_newest ON instances (heartbeat_at);
DROP INDEX instances_live;
CREATE INDEX instances_live ON instances (lease_until) WHERE stopped_at IS NULL;
