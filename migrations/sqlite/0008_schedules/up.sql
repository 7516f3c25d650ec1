-- Schedules: requests that come by the clock, and those among them that are about to be made.

CREATE TABLE schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    -- NULL: every tenant of the workspace, or the workspace itself.
    tenant_id INTEGER,
    name TEXT NOT NULL,
    -- Who may change it: the endpoint, or the configuration.
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    inputs TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    jitter_s INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- The next time that the expression names; an instance that moves it on begins that occurrence, and no other does.
    next_at INTEGER,
    -- The last occurrence that was begun, and what became of its requests.
    last_at INTEGER,
    last_catch_up INTEGER NOT NULL DEFAULT FALSE,
    last_asked_at INTEGER,
    last_verdict TEXT,
    -- No foreign key: pruning may remove the run.
    last_run_id INTEGER,
    last_problem TEXT,
    accepted INTEGER NOT NULL DEFAULT 0,
    active INTEGER NOT NULL DEFAULT 0,
    cooldown INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT schedules_tenant_of_workspace
        FOREIGN KEY (tenant_id, workspace_id) REFERENCES tenants (id, workspace_id),
    CONSTRAINT schedules_source_known CHECK (source IN ('api', 'config')),
    CONSTRAINT schedules_type_known
        CHECK (type IN ('assignments.fetch', 'assignments.restore', 'ops.reconcile_adapter_runs')),
    CONSTRAINT schedules_scope_of_type CHECK ((type <> 'ops.reconcile_adapter_runs' OR tenant_id IS NULL)
        AND (type <> 'assignments.restore' OR tenant_id IS NOT NULL)),
    CONSTRAINT schedules_jitter_within_a_day CHECK (jitter_s BETWEEN 0 AND 86400),
    CONSTRAINT schedules_next_while_enabled CHECK (next_at IS NULL OR enabled),
    CONSTRAINT schedules_verdict_known
        CHECK (last_verdict IS NULL OR last_verdict IN ('accepted', 'active', 'cooldown', 'failed'))
) STRICT;
CREATE UNIQUE INDEX schedules_name ON schedules (workspace_id, name);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_of_tenant ON schedules (tenant_id) WHERE tenant_id IS NOT NULL;

-- One row per request that an occurrence comes to, from the occurrence's beginning until the request has its verdict.
-- Whoever takes it holds it for a while; a row whose holder died is taken again, so that no request is lost. Asking
-- twice is harmless: the second time the first run is the answer.
CREATE TABLE schedule_asks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    schedule_id INTEGER NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    -- The tenant, or 0 for the workspace: part of a key, so never NULL.
    tenant_key INTEGER NOT NULL,
    occurrence_at INTEGER NOT NULL,
    catch_up INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    claimed_until INTEGER
) STRICT;
-- What is about to be asked for is not asked for twice: an occurrence that comes before joins it.
CREATE UNIQUE INDEX schedule_asks_target ON schedule_asks (schedule_id, tenant_key);
CREATE INDEX schedule_asks_due ON schedule_asks (due_at);
