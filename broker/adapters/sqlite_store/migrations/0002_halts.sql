-- Active halts; one that was lifted is a pair of events. Exactly one of `scope`'s kinds: 'all',
-- 'agent', 'session' (of `agent`) or 'tool'; what a kind does not name is empty. The reason stands
-- in `content`, its subject is who set the halt.
CREATE TABLE halts (
    id TEXT PRIMARY KEY,
    scope TEXT NOT NULL CHECK (scope IN ('all', 'agent', 'session', 'tool')),
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at_us INTEGER NOT NULL,
    reason_sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
