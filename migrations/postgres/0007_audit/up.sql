-- Who is signed in to the web page, and who changed what.

CREATE TABLE sessions (
    -- Of the session's id, which the browser alone has.
    sha256 bytea NOT NULL PRIMARY KEY,
    -- A token that is withdrawn ends its sessions.
    token_id bigint NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT sessions_sha256_length CHECK (length(sha256) = 32)
);
CREATE INDEX sessions_of_token ON sessions (token_id, seen_at);

-- One line per change. No foreign keys: a line outlives what it is about.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    -- The token's name; the operating system's user for the command line; empty where nobody is known.
    actor text NOT NULL,
    action text NOT NULL,
    -- The workspace whose members may see the line; none for what concerns all.
    workspace_id bigint,
    object_kind text,
    object_id bigint,
    -- The address that asked, where there was one.
    peer text,
    -- Through which door: api, page, cli.
    via text NOT NULL,
    outcome text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT audit_outcome_known CHECK (outcome IN ('done', 'refused')),
    CONSTRAINT audit_detail_is_object CHECK (jsonb_typeof(detail) = 'object'),
    CONSTRAINT audit_object_is_whole CHECK ((object_kind IS NULL) = (object_id IS NULL))
);
CREATE INDEX audit_of_workspace ON audit (workspace_id, id);
CREATE INDEX audit_of_actor ON audit (actor, id);
CREATE INDEX audit_of_object ON audit (object_kind, object_id, id) WHERE object_id IS NOT NULL;
-- Submitted runs are most lines: whoever looks for them finds them anywhere, and this index stays small.
CREATE INDEX audit_of_rare_action ON audit (action, id) WHERE action <> 'run.submitted';
