-- The first schema. Times are microseconds since 1970 UTC; digests are lower-case hexadecimal.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per call: `record` is the whole call as JSON without content; the columns repeat what
-- is searched by.
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    short_id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    received_at_us INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX calls_request ON calls (agent, request_id) WHERE request_id <> '';
CREATE INDEX calls_agent ON calls (agent, id);
CREATE INDEX calls_received ON calls (received_at_us, id);
CREATE INDEX calls_open ON calls (id) WHERE state IN ('RECEIVED', 'HELD', 'QUEUED', 'RUNNING');

-- The only history. A trigger, not habit, keeps it append-only and without gaps.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    type TEXT NOT NULL,
    call TEXT REFERENCES calls (id),
    agent TEXT,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_call ON events (call, sequence) WHERE call IS NOT NULL;
CREATE TRIGGER events_append BEFORE INSERT ON events
WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM events)
BEGIN SELECT RAISE(ABORT, 'events are appended one by one'); END;
CREATE TRIGGER events_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE receipts (
    sequence INTEGER PRIMARY KEY,
    call TEXT NOT NULL UNIQUE REFERENCES calls (id),
    agent TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
CREATE INDEX receipts_agent ON receipts (agent, sequence);
CREATE TRIGGER receipts_append BEFORE INSERT ON receipts
WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM receipts)
BEGIN SELECT RAISE(ABORT, 'receipts are appended one by one'); END;
CREATE TRIGGER receipts_update BEFORE UPDATE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
CREATE TRIGGER receipts_delete BEFORE DELETE ON receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;

-- Everything that a person may want erased, and nothing else. `kind` is a document's schema id,
-- 'file', or 'person'; `subject` is whom it is about: an agent, or a person's pseudonym.
CREATE TABLE content (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    call TEXT REFERENCES calls (id),
    bytes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX content_document ON content (sha256) WHERE kind NOT IN ('file', 'person');
CREATE UNIQUE INDEX content_file ON content (subject, sha256) WHERE kind = 'file';
CREATE UNIQUE INDEX content_person ON content (sha256) WHERE kind = 'person';

-- A pseudonym outlives the erasure of the person behind it.
CREATE TABLE people (
    pseudonym TEXT PRIMARY KEY,
    content INTEGER UNIQUE REFERENCES content (id) ON DELETE SET NULL
) STRICT;

CREATE TABLE premises (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    agent TEXT NOT NULL,
    session_id TEXT NOT NULL,
    tree_sha256 TEXT NOT NULL,
    PRIMARY KEY (agent, session_id)
) STRICT, WITHOUT ROWID;
