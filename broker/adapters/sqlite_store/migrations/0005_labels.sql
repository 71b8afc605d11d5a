-- What each agent is labelled with, numbered from 1 in the order in which it came, by the call whose
-- start brought it. A label is never taken away, so the highest number is the agent's label version.
CREATE TABLE labels (
    agent TEXT NOT NULL,
    number INTEGER NOT NULL,
    label TEXT NOT NULL,
    -- Deferred: a call that begins in the commit that records it comes after its labels.
    call TEXT NOT NULL REFERENCES calls (id) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (agent, number),
    UNIQUE (agent, label)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER labels_append BEFORE INSERT ON labels
WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM labels WHERE agent = NEW.agent)
BEGIN SELECT RAISE(ABORT, 'labels are appended one by one'); END;
CREATE TRIGGER labels_update BEFORE UPDATE ON labels
BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END;
CREATE TRIGGER labels_delete BEFORE DELETE ON labels
BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END;
