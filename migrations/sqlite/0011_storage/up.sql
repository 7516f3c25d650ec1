-- Indexes that change with every heartbeat and with the end of every attempt, as on PostgreSQL.

DROP INDEX instances_live;
CREATE INDEX instances_live ON instances (id) WHERE stopped_at IS NULL;
DROP INDEX instances_newest;
CREATE INDEX instances_newest ON instances (started_at);

-- Whoever looks for an open attempt knows its run, and a run has few.
DROP INDEX run_attempts_open;
