"""Open the database file at the schema that this version of the broker writes."""

import os
import re
import secrets
import sqlite3
from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.adapters.sqlite_store.file_rows import drop_unfinished
from broker.errors import StoreUnavailable
from broker.whole_file import sync_folder

_APPLICATION_ID = 0x57415252  # "WARR", in the file's header: tells it from any other database
_CACHED_STATEMENTS = 256
_JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024
_MIGRATION = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")


def open_for_writing(
    path: Path, now: Callable[[], datetime], busy_timeout_s: float
) -> sqlite3.Connection:
    """Open the one connection that writes; make, check or migrate the store first.

    The caller holds the store's lock.

    Raises:
        StoreUnavailable: The file is damaged, of a newer or another broker, no store, or cannot be
            written.
    """
    _create_private(path)
    connection = _connect(path, busy_timeout_s)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Erased content is overwritten in the file, not merely forgotten.
        connection.execute("PRAGMA secure_delete = ON")
        # Savepoints keep what they may have to undo in a temporary file, unless told otherwise;
        # it is of no use after a crash, and costs a sixth of a commit's time.
        connection.execute("PRAGMA temp_store = MEMORY")
        _check_whole(path, connection)
        # Before the first table: a crash in between must not leave what looks foreign.
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID:d}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_BYTES:d}")
        _migrate(path, connection, now)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Open a connection that can only read."""
    connection = _connect(path, busy_timeout_s)
    connection.execute("PRAGMA query_only = ON")
    return connection


def begin_life(connection: sqlite3.Connection) -> tuple[str, int]:
    """Give the store's installation id with the number of this life of the broker, from 1."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute(
            "INSERT INTO meta VALUES ('installation', ?), ('epoch', '0') ON CONFLICT DO NOTHING",
            (secrets.token_hex(16),),
        )
        connection.execute(
            "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'epoch'"
        )
        drop_unfinished(connection)
    found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    return found["installation"], int(found["epoch"])


def _create_private(path: Path) -> None:
    """Make the file readable by its owner alone; SQLite gives its side files the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        # Each connection is used by one thread at a time; which one may change.
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _check_whole(path: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application != _APPLICATION_ID and not is_empty:
        raise StoreUnavailable(
            f"{path} is another program's database: give [store] path a file of its own",
            reason="STORE_FOREIGN",
        )
    fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise damaged(path, fault)


def damaged(path: Path, fault: object) -> StoreUnavailable:
    """Say that the file is broken, and what to do."""
    return StoreUnavailable(
        f"{path} is damaged ({fault}): keep the file for inquiry, restore the latest backup",
        reason="STORE_DAMAGED",
    )


def _migrate(path: Path, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY,"
        " name TEXT NOT NULL, applied_at_us INTEGER NOT NULL) STRICT"
    )
    applied = dict(connection.execute("SELECT version, name FROM schema_migrations").fetchall())
    shipped = _shipped_migrations()
    if (latest := max(applied, default=0)) > shipped[-1][0]:
        raise StoreUnavailable(
            f"{path} was written by a newer broker (schema {latest}, this one knows"
            f" {shipped[-1][0]}): start that version, or a backup from before it",
            reason="STORE_TOO_NEW",
        )
    for version, name, _ in shipped:
        if (other := applied.get(version, name)) != name:
            raise StoreUnavailable(
                f"{path} is of another development of this broker: its migration {version} is"
                f" {other}, this one's is {name}: start the version that wrote it, or give [store]"
                " path a new file",
                reason="STORE_OTHER_SCHEMA",
            )
    for version, name, text in shipped:
        # Not only those behind the latest: two that came apart may have come in either order.
        if version not in applied:
            _apply(connection, version, name, text, now())


def _apply(
    connection: sqlite3.Connection, version: int, name: str, text: str, at: datetime
) -> None:
    # executescript commits whatever is open before it begins, so the script opens its own
    # transaction: a crash or an error leaves the schema as it was.
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{text}")
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?)", (version, name, to_microseconds(at))
        )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _shipped_migrations() -> list[tuple[int, str, str]]:
    folder = files(__package__).joinpath("migrations")
    found = []
    for entry in folder.iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(found)
