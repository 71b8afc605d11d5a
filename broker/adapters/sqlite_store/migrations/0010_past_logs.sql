-- A store that was put back from a backup goes on as a new installation, with a new log: what readers
-- were shown of the old one behind the backup is not in it. Here is what is kept of the old one.

CREATE TABLE past_logs (
    installation TEXT PRIMARY KEY,
    ended_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The receipts of its calls, which those who made them go on reading. Their log is its files.
CREATE TABLE past_receipts (
    call TEXT PRIMARY KEY REFERENCES calls (id),
    installation TEXT NOT NULL REFERENCES past_logs (installation),
    sequence INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
CREATE TRIGGER past_receipts_update BEFORE UPDATE ON past_receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
CREATE TRIGGER past_receipts_delete BEFORE DELETE ON past_receipts
BEGIN SELECT RAISE(ABORT, 'receipts are append-only'); END;
