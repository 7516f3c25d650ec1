-- When the ledger's clock was set back: the times from low_at to high_at were told twice, so that their order is no
-- order of things. Each instance that notices writes a row of its own.

CREATE TABLE clock_steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    low_at INTEGER NOT NULL,
    high_at INTEGER NOT NULL
) STRICT;
