-- The transparency log over the receipts. Its entry of index n is the envelope of sequence n + 1: a
-- receipt gets its index in the transaction that writes it. What is here follows from the receipts,
-- and is written later, in batches: it holds up no call.

-- Hashes of complete subtrees in the order of their completion, from place 0.
CREATE TABLE log_nodes (
    place INTEGER PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER log_nodes_append BEFORE INSERT ON log_nodes
WHEN NEW.place <> (SELECT coalesce(max(place), -1) + 1 FROM log_nodes)
BEGIN SELECT RAISE(ABORT, 'nodes of the log are appended one by one'); END;
CREATE TRIGGER log_nodes_update BEFORE UPDATE ON log_nodes
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_nodes_delete BEFORE DELETE ON log_nodes
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

-- Every head that was ever signed, as a signed note; one for each size, the sizes only grow.
CREATE TABLE log_checkpoints (
    size INTEGER PRIMARY KEY CHECK (size >= 0),
    at_us INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE TRIGGER log_checkpoints_append BEFORE INSERT ON log_checkpoints
WHEN NEW.size <= (SELECT coalesce(max(size), -1) FROM log_checkpoints)
OR NEW.size > (SELECT coalesce(max(sequence), 0) FROM receipts)
BEGIN SELECT RAISE(ABORT, 'checkpoints are appended, and cover receipts that are there'); END;
CREATE TRIGGER log_checkpoints_update BEFORE UPDATE ON log_checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER log_checkpoints_delete BEFORE DELETE ON log_checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
