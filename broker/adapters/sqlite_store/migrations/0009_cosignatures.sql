-- What witnesses signed under heads of the log: one row for each key with each head. How far a witness
-- has come, and which head enough of them cosigned, both follow from it.
CREATE TABLE log_cosignatures (
    size INTEGER NOT NULL REFERENCES log_checkpoints (size),
    -- SHA-256 of the witness's public key, as the trust root names it.
    witness TEXT NOT NULL,
    -- The line of the note: the key's name, its short id in the note, time with signature.
    name TEXT NOT NULL,
    note_key_id BLOB NOT NULL CHECK (length(note_key_id) = 4),
    signature BLOB NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_cosignatures_by_witness ON log_cosignatures (witness, size);
CREATE TRIGGER log_cosignatures_update BEFORE UPDATE ON log_cosignatures
BEGIN SELECT RAISE(ABORT, 'cosignatures are append-only'); END;
CREATE TRIGGER log_cosignatures_delete BEFORE DELETE ON log_cosignatures
BEGIN SELECT RAISE(ABORT, 'cosignatures are append-only'); END;
