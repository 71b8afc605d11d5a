"""Keep the policy bundle that was active last."""

import sqlite3
from contextlib import closing
from pathlib import Path

from broker.adapters.sqlite_store.changes import write_premise
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.adapters.sqlite_store.place import look_into
from broker.core.ids import Sha256
from broker.errors import ConfigurationError, StaleBundle
from broker.ports import BUNDLE_PREMISE, EventDraft, KeptBundle


def keep_bundle(chronicle: Chronicle, bundle: KeptBundle, event: EventDraft) -> None:
    """Keep a bundle in the place of the last, set the premise to its digest, with the event.

    Raises:
        StaleBundle: The kept one has this number or a higher one.
    """
    connection = chronicle.connection
    kept = connection.execute("SELECT number, revision FROM bundle").fetchone()
    if kept is not None and kept[0] >= bundle.number:
        raise StaleBundle(f"{kept[1]} is kept, which {bundle.revision} does not follow")
    connection.execute(
        "INSERT INTO bundle VALUES (1, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " number = excluded.number, revision = excluded.revision, sha256 = excluded.sha256,"
        " archive = excluded.archive",
        (bundle.number, bundle.revision, bundle.sha256, bundle.archive),
    )
    write_premise(chronicle, BUNDLE_PREMISE, bundle.sha256, event)


def kept_bundle(connection: sqlite3.Connection) -> KeptBundle | None:
    """Read the bundle that was kept last."""
    row = connection.execute("SELECT number, revision, sha256, archive FROM bundle").fetchone()
    if row is None:
        return None
    number, revision, sha256, archive = row
    return KeptBundle(number=number, revision=revision, sha256=Sha256(sha256), archive=archive)


def last_bundle(path: Path) -> KeptBundle | None:
    """Read the bundle that was active last from a store, whether or not a broker runs on it.

    Raises:
        ConfigurationError: It cannot be read, or is no store.
    """
    if not path.exists():
        return None
    try:
        with closing(look_into(path)) as connection:
            return kept_bundle(connection)
    except sqlite3.Error as error:
        raise ConfigurationError(
            str(path), None, f"cannot be read as a store ({error}): name its configuration"
        ) from error
