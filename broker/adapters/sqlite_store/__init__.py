"""Keep the record in one SQLite file.

Theory of operation. One thread owns the only connection that writes. It takes whatever changes
are queued, writes each in its own savepoint of one transaction, then commits them with one fsync:
the cost of durability is shared, while a change that is refused rolls back alone. Receipts are
sealed in that thread, in commit order, because only there is it known which receipt precedes.
Nobody is answered before the commit has returned. Readers have connections of their own: in WAL
mode they see what is committed, and never wait for the writer.

An author who is cancelled while waiting cannot know whether the change was written: it may be.
"""

from broker.adapters.sqlite_store.bundle import last_bundle
from broker.adapters.sqlite_store.place import LogPlace, RecordedLog, recorded_log, resting_log
from broker.adapters.sqlite_store.recorded import RecordedDecisions, recorded_decisions
from broker.adapters.sqlite_store.restoring import Renewal, RestingStore, resting_store
from broker.adapters.sqlite_store.store import SqliteStore

__all__ = [
    "LogPlace",
    "RecordedDecisions",
    "RecordedLog",
    "Renewal",
    "RestingStore",
    "SqliteStore",
    "last_bundle",
    "recorded_decisions",
    "recorded_log",
    "resting_log",
    "resting_store",
]
