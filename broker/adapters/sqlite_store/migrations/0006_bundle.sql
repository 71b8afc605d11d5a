-- The policy bundle that was active last, as it was activated: a restart goes on with it. A trigger,
-- not habit, keeps its number from going back.
CREATE TABLE bundle (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    number INTEGER NOT NULL CHECK (number >= 1),
    revision TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    archive BLOB NOT NULL
) STRICT;
CREATE TRIGGER bundle_forward BEFORE UPDATE ON bundle
WHEN NEW.number <= OLD.number
BEGIN SELECT RAISE(ABORT, 'a policy bundle is followed by newer ones alone'); END;
CREATE TRIGGER bundle_delete BEFORE DELETE ON bundle
BEGIN SELECT RAISE(ABORT, 'the policy bundle that was active last is kept'); END;
