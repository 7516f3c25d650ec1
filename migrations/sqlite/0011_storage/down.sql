CREATE INDEX run_attempts_open ON run_attempts (run_id) WHERE outcome = 'running';
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('run_attempts', 'run_attempts_open', '100 1');
DROP INDEX instances_newest;
CREATE INDEX instances_newest ON instances (heartbeat_at);
DROP INDEX instances_live;
CREATE INDEX instances_live ON instances (lease_until) WHERE stopped_at IS NULL;
