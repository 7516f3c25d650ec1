-- Who owns what: workspaces, their users and tenants, API tokens; and the processes that work for them.
-- Instants are whole microseconds since 1970, ids of instances and tenants' directories 16 bytes.

CREATE TABLE workspaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workspaces_slug ON workspaces (slug);

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_name ON users (workspace_id, name);

CREATE TABLE tenants (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    external_id BLOB NOT NULL,
    name TEXT NOT NULL,
    cloud TEXT NOT NULL,
    credential TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT tenants_external_id_is_uuid CHECK (length(external_id) = 16)
) STRICT;
CREATE UNIQUE INDEX tenants_external_id ON tenants (workspace_id, external_id);
CREATE INDEX tenants_by_external_id ON tenants (external_id);
-- The target of the ledger's foreign key: a run's tenant is one of its workspace.
CREATE UNIQUE INDEX tenants_of_workspace ON tenants (id, workspace_id);

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    role TEXT NOT NULL,
    workspace_id INTEGER REFERENCES workspaces (id),
    created_at INTEGER NOT NULL,
    CONSTRAINT api_tokens_sha256_length CHECK (length(sha256) = 32),
    CONSTRAINT api_tokens_role_known CHECK (role IN ('viewer', 'operator', 'admin'))
) STRICT;
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name);
CREATE UNIQUE INDEX api_tokens_sha256 ON api_tokens (sha256);

CREATE TABLE instances (
    id BLOB NOT NULL PRIMARY KEY,
    hostname TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    stopped_at INTEGER,
    CONSTRAINT instances_id_is_uuid CHECK (length(id) = 16)
) STRICT;
CREATE INDEX instances_live ON instances (lease_until) WHERE stopped_at IS NULL;
CREATE INDEX instances_newest ON instances (heartbeat_at);
