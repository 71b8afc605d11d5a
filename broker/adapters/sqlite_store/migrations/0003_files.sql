-- Large files in pieces, each agent's bytes counted, uploads that expire.

-- What follows a file's `content.bytes`, which is its first piece: a large file that came as one
-- value would make every other change wait for it.
CREATE TABLE pieces (
    file INTEGER NOT NULL REFERENCES content (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    bytes BLOB NOT NULL,
    UNIQUE (file, number)
) STRICT;

-- One row per content row of kind 'file'. A file that is being staged, or dropped piece by piece,
-- has the kind 'staging', a random name and no row here: no reader finds it.
CREATE TABLE files (
    content INTEGER PRIMARY KEY REFERENCES content (id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    -- Null once a call has left it, or put it into a workspace.
    expires_at_us INTEGER
) STRICT;
CREATE INDEX files_expiring ON files (expires_at_us) WHERE expires_at_us IS NOT NULL;

-- Kept by triggers, so that whatever removes a file gives its bytes back.
CREATE TABLE storage (
    agent TEXT PRIMARY KEY,
    file_bytes INTEGER NOT NULL CHECK (file_bytes >= 0)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER files_added AFTER INSERT ON files
BEGIN
    INSERT INTO storage VALUES (NEW.agent, NEW.size_bytes)
    ON CONFLICT DO UPDATE SET file_bytes = file_bytes + excluded.file_bytes;
END;
CREATE TRIGGER files_removed AFTER DELETE ON files
BEGIN
    UPDATE storage SET file_bytes = file_bytes - OLD.size_bytes WHERE agent = OLD.agent;
END;

INSERT INTO files
SELECT id, subject, length(bytes), NULL FROM content WHERE kind = 'file';
