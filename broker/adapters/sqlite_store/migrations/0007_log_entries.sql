-- The log holds more than receipts. Each entry has its place in the transaction that writes what it
-- is about; the bytes of what is no receipt follow with the head that covers them.

-- Entries by their index. `reference` is a receipt's sequence, an event's sequence, or the last event
-- that a batch covers.
CREATE TABLE log_entries (
    place INTEGER PRIMARY KEY,
    kind TEXT NOT NULL
    CHECK (kind IN ('receipt', 'intent', 'approval', 'policy', 'key', 'halt', 'batch')),
    reference INTEGER NOT NULL
) STRICT;
-- What the log held so far stays where it is: readers have its heads.
INSERT INTO log_entries SELECT sequence - 1, 'receipt', sequence FROM receipts ORDER BY sequence;
-- Where a receipt's entry is; null for those just put in, which have the place that their sequence
-- says. A column, for an index on `reference` would be one more page to write at every end.
ALTER TABLE receipts ADD COLUMN place INTEGER;
CREATE TRIGGER log_entries_append BEFORE INSERT ON log_entries
WHEN NEW.place <> (SELECT coalesce(max(place), -1) + 1 FROM log_entries)
BEGIN SELECT RAISE(ABORT, 'entries of the log are appended one by one'); END;
CREATE TRIGGER log_entries_update BEFORE UPDATE ON log_entries
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_entries_delete BEFORE DELETE ON log_entries
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

-- Which events each batch covers. Those from before this table are covered by none: the first batch
-- begins behind them, and counts no entry from before.
CREATE TABLE log_batches (
    place INTEGER PRIMARY KEY REFERENCES log_entries (place),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL CHECK (last >= first),
    salt BLOB NOT NULL CHECK (length(salt) = 16)
) STRICT;
INSERT INTO meta
SELECT 'events_before_batches', CAST(coalesce(max(sequence), 0) AS TEXT) FROM events
UNION ALL SELECT 'receipts_alone', CAST(count(*) AS TEXT) FROM receipts;
CREATE TRIGGER log_batches_append BEFORE INSERT ON log_batches
WHEN NEW.first <> 1 + (
    SELECT coalesce(
        (SELECT last FROM log_batches ORDER BY place DESC LIMIT 1),
        (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'events_before_batches')
    )
)
OR NEW.last > (SELECT coalesce(max(sequence), 0) FROM events)
BEGIN SELECT RAISE(ABORT, 'batches are appended, and leave no event out'); END;
CREATE TRIGGER log_batches_update BEFORE UPDATE ON log_batches
BEGIN SELECT RAISE(ABORT, 'batches are append-only'); END;
CREATE TRIGGER log_batches_delete BEFORE DELETE ON log_batches
BEGIN SELECT RAISE(ABORT, 'batches are append-only'); END;

-- The exact bytes of covered entries that are no receipts.
CREATE TABLE log_leaves (
    place INTEGER PRIMARY KEY REFERENCES log_entries (place),
    leaf BLOB NOT NULL
) STRICT;
CREATE TRIGGER log_leaves_append BEFORE INSERT ON log_leaves
WHEN NEW.place <= (SELECT coalesce(max(place), -1) FROM log_leaves)
BEGIN SELECT RAISE(ABORT, 'leaves of the log are appended in order'); END;
CREATE TRIGGER log_leaves_update BEFORE UPDATE ON log_leaves
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_leaves_delete BEFORE DELETE ON log_leaves
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

DROP TRIGGER log_checkpoints_append;
CREATE TRIGGER log_checkpoints_append BEFORE INSERT ON log_checkpoints
WHEN NEW.size <= (SELECT coalesce(max(size), -1) FROM log_checkpoints)
OR NEW.size > (SELECT coalesce(max(place), -1) + 1 FROM log_entries)
BEGIN SELECT RAISE(ABORT, 'checkpoints are appended, and cover entries that are there'); END;
