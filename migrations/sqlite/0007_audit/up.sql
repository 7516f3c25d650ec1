-- Who is signed in to the web page, and who changed what.

CREATE TABLE sessions (
    -- Of the session's id, which the browser alone has.
    sha256 BLOB NOT NULL PRIMARY KEY,
    -- A token that is withdrawn ends its sessions.
    token_id INTEGER NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    CONSTRAINT sessions_sha256_length CHECK (length(sha256) = 32)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_token ON sessions (token_id, seen_at);

-- One line per change. No foreign keys: a line outlives what it is about.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    -- The token's name; the operating system's user for the command line; empty where nobody is known.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- The workspace whose members may see the line; none for what concerns all.
    workspace_id INTEGER,
    object_kind TEXT,
    object_id INTEGER,
    -- The address that asked, where there was one.
    peer TEXT,
    -- Through which door: api, page, cli.
    via TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '{}',
    CONSTRAINT audit_outcome_known CHECK (outcome IN ('done', 'refused')),
    CONSTRAINT audit_detail_is_object CHECK (json_type(detail) = 'object'),
    CONSTRAINT audit_object_is_whole CHECK ((object_kind IS NULL) = (object_id IS NULL))
) STRICT;
CREATE INDEX audit_of_workspace ON audit (workspace_id, id);
CREATE INDEX audit_of_actor ON audit (actor, id);
CREATE INDEX audit_of_object ON audit (object_kind, object_id, id) WHERE object_id IS NOT NULL;
-- Submitted runs are most lines: whoever looks for them finds them anywhere, and this index stays small.
CREATE INDEX audit_of_rare_action ON audit (action, id) WHERE action <> 'run.submitted';
