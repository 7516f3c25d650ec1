-- Who owns what: workspaces, their users and tenants, API tokens; and the processes that work for them.

CREATE TABLE workspaces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX workspaces_slug ON workspaces (slug);

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_name ON users (workspace_id, name);

CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    external_id uuid NOT NULL,
    name text NOT NULL,
    cloud text NOT NULL,
    credential text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX tenants_external_id ON tenants (workspace_id, external_id);
CREATE INDEX tenants_by_external_id ON tenants (external_id);
-- The target of the ledger's foreign key: a run's tenant is one of its workspace.
CREATE UNIQUE INDEX tenants_of_workspace ON tenants (id, workspace_id);

CREATE TABLE api_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    role text NOT NULL,
    workspace_id bigint REFERENCES workspaces (id),
    created_at timestamptz NOT NULL,
    CONSTRAINT api_tokens_sha256_length CHECK (length(sha256) = 32),
    CONSTRAINT api_tokens_role_known CHECK (role IN ('viewer', 'operator', 'admin'))
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name);
CREATE UNIQUE INDEX api_tokens_sha256 ON api_tokens (sha256);

CREATE TABLE instances (
    id uuid NOT NULL PRIMARY KEY,
    hostname text NOT NULL,
    pid bigint NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    stopped_at timestamptz
);
CREATE INDEX instances_live ON instances (lease_until) WHERE stopped_at IS NULL;
CREATE INDEX instances_newest ON instances (heartbeat_at);
