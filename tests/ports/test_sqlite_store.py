"""Hold the SQLite store to what its file promises beyond the port."""

import asyncio
import json
import resource
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from broker.adapters.sqlite_store import SqliteStore, schema
from broker.adapters.sqlite_store.call_record import dump_call, load_call
from broker.core.call import Call
from broker.core.ids import Pseudonym, sha256_hex
from broker.core.lifecycle import CallState, Step
from broker.core.merkle import Node
from broker.errors import PremiseChanged, ShortIdTaken, StoreUnavailable
from broker.ports import PIECE_BYTES, File, StoredReceipt, WorkspaceUpdate
from broker.staging import stage_large
from tests.ports import history, samples
from tests.ports.samples import AGENT, call_id, first, following, new_call
from tests.ports.shelf import SqliteShelf

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shelf(tmp_path: Path) -> SqliteShelf:
    """Give an empty place for a store."""
    return SqliteShelf(tmp_path / "store.db")


LOG_TABLES = (
    "log_leaves",
    "log_batches",
    "log_entries",
    "log_nodes",
    "log_cosignatures",
    "log_checkpoints",
)
LOG_FACTS_GONE = "DELETE FROM meta WHERE name IN ('events_before_batches', 'receipts_alone')"


def query(shelf: SqliteShelf, text: str) -> list[tuple[object, ...]]:
    """Run a statement on the file, past the store."""
    with closing(sqlite3.connect(shelf.path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        return connection.execute(text).fetchall()


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """Let every write past this size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestRecord:
    def test_round_trip(self) -> None:
        """A record is read back as the call that it was made of."""
        for call in (samples.full_call(1), new_call(2, CallState.HELD), new_call(3)):
            assert load_call(dump_call(call)) == call

    def test_from_before_labels(self) -> None:
        """A call that was recorded before there were labels is read as one without any."""
        call = new_call(1)
        record = json.loads(dump_call(call))
        for evaluation in record["evaluations"]:
            del evaluation["labels"], evaluation["label_version"]
        assert load_call(json.dumps(record)) == call

    def test_sample_is_full(self) -> None:
        """The fullest sample leaves no field of a call out, so that the round trip covers all."""
        call = samples.full_call(1)
        assert [f.name for f in fields(Call) if getattr(call, f.name) in (None, "", ())] == []

    def test_awkward_text(self) -> None:
        """Text of every script comes back, quotes, controls, line ends included."""
        awkward = 'é "q" \\ \x00 \x1f \u202e \U0001f600 \u2028\r\n'
        call = new_call(1, session_id=awkward)
        assert load_call(dump_call(call)) == call


class TestFile:
    async def test_private(self, shelf: SqliteShelf) -> None:
        """The store's files are readable by their owner alone, even where one was not before."""
        shelf.path.touch(0o666)
        shelf.path.chmod(0o666)
        store = await shelf.open()
        await store.commit(first(new_call(1)))
        modes = {file.name: file.stat().st_mode & 0o777 for file in shelf.path.parent.iterdir()}
        assert modes == dict.fromkeys(
            ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600
        )
        await store.close()

    async def test_durable(self, shelf: SqliteShelf) -> None:
        """The journal is written ahead, synced at each commit; what is deleted is overwritten."""
        store = await shelf.open()
        connection = store._writer._chronicle.connection  # type: ignore[attr-defined]
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
        await store.close()

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE events SET type = 'x'",
            "DELETE FROM events",
            "INSERT INTO events VALUES (9, 0, 1, 'x', NULL, NULL, '{}')",
            "INSERT OR REPLACE INTO events VALUES (1, 0, 1, 'x', NULL, NULL, '{}')",
            "UPDATE receipts SET envelope = x''",
            "DELETE FROM receipts",
            "INSERT INTO receipts VALUES (9, 'x', 'a', 0, '', x'', 0)",
            "INSERT OR REPLACE INTO receipts VALUES (1, 'x', 'a', 0, '', x'', 0)",
            "UPDATE labels SET label = 'x'",
            "DELETE FROM labels",
            "INSERT INTO labels SELECT agent, 3, 'x', call FROM labels",
            "INSERT OR REPLACE INTO labels SELECT agent, 1, 'x', call FROM labels",
            "UPDATE log_nodes SET hash = zeroblob(32)",
            "DELETE FROM log_nodes",
            "INSERT INTO log_nodes VALUES (9, zeroblob(32))",
            "INSERT OR REPLACE INTO log_nodes VALUES (0, zeroblob(32))",
            "UPDATE log_checkpoints SET note = x''",
            "DELETE FROM log_checkpoints",
            "INSERT INTO log_checkpoints VALUES (0, 0, x'')",
            "INSERT OR REPLACE INTO log_checkpoints VALUES (1, 0, x'')",
            "INSERT INTO log_checkpoints VALUES (4, 0, x'')",
            "UPDATE log_entries SET reference = 9",
            "DELETE FROM log_entries",
            "INSERT INTO log_entries VALUES (9, 'key', 1)",
            "INSERT OR REPLACE INTO log_entries VALUES (0, 'key', 1)",
            "UPDATE log_batches SET last = 9",
            "DELETE FROM log_batches",
            "INSERT INTO log_batches VALUES (0, 9, 9, zeroblob(16))",
            "INSERT INTO log_batches VALUES (0, 1, 5, zeroblob(16))",
            "INSERT INTO log_batches VALUES (0, 6, 6, zeroblob(16))",
            "INSERT OR REPLACE INTO log_batches VALUES (2, 1, 5, zeroblob(16))",
            "UPDATE log_leaves SET leaf = x''",
            "DELETE FROM log_leaves",
            "INSERT INTO log_leaves VALUES (0, x'')",
            "INSERT OR REPLACE INTO log_leaves VALUES (0, x'')",
        ],
    )
    async def test_history_is_append_only(self, shelf: SqliteShelf, statement: str) -> None:
        """The file itself refuses to have its history changed, or a label taken away."""
        store = await shelf.open()
        labelled = samples.labelled(2, "untrusted")
        await store.commit(first(labelled))
        await store.commit(following(labelled, Step.START))
        await store.commit(first(new_call(1, CallState.DENIED)))
        await store.close_batch(bytes(16))
        await store.advance_log(
            expected=None, hashes=[bytes(32)], to=samples.log_head(1), leaves={0: b"intent"}
        )
        await store.close()
        with pytest.raises(sqlite3.IntegrityError, match="append"):
            query(shelf, statement)

    async def test_content_stands_in_one_table(self, shelf: SqliteShelf) -> None:
        """Once the content rows are gone, no text of a document, file or person is in the file."""
        store = await shelf.open()
        # So long that most of it stands in pieces.
        file = samples.file("the secret file" * PIECE_BYTES)
        change = first(
            new_call(1), documents=(samples.document("the secret request"),), files=(file,)
        )
        await store.commit(change)
        await store.pseudonym("the secret person", Pseudonym("p1"))
        await store.close()
        assert b"the secret" in shelf.path.read_bytes()
        with closing(sqlite3.connect(shelf.path)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("DELETE FROM content")
        assert b"the secret" not in shelf.path.read_bytes()
        store = await shelf.open()
        assert await store.document(change.documents[0].sha256) is None
        assert await store.file(AGENT, file.sha256) is None
        assert await store.get_call(call_id(1)) == change.call
        assert await store.pseudonym("the secret person", Pseudonym("p2")) == "p2"
        await store.close()

    async def test_lists_use_their_indexes(self, shelf: SqliteShelf) -> None:
        """The few open calls are found without a walk through all calls."""
        store = await shelf.open()
        await store.close()
        plan = query(
            shelf,
            "EXPLAIN QUERY PLAN SELECT record FROM calls"
            " WHERE received_at_us >= 1 ORDER BY received_at_us, id",
        )
        assert "USING INDEX calls_received" in str(plan)
        plan = query(
            shelf,
            "EXPLAIN QUERY PLAN SELECT record FROM calls WHERE short_id >= 'A' AND short_id < 'B'",
        )
        assert "USING INDEX sqlite_autoindex_calls" in str(plan)


class TestOpening:
    async def test_other_process(self, shelf: SqliteShelf) -> None:
        """A second process is refused with the first one's number, until that one is dead."""
        argv = [sys.executable, "-m", "tests.ports.committing", str(shelf.path), "0"]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*argv, stdout=pipe, cwd=ROOT)
        assert child.stdout is not None
        await child.stdout.readline()
        with pytest.raises(StoreUnavailable, match=f"process {child.pid}") as caught:
            await shelf.open()
        child.kill()
        await child.communicate()
        assert caught.value.reason == "STORE_IN_USE"
        store = await shelf.open()
        assert store.epoch == 2
        await store.close()

    async def test_by_another_name(self, shelf: SqliteShelf) -> None:
        """A symbolic link to an owned store is refused like the store."""
        store = await shelf.open()
        link = shelf.path.with_name("link.db")
        link.symlink_to(shelf.path)
        with pytest.raises(StoreUnavailable) as caught:
            await SqliteShelf(link).open()
        assert caught.value.reason == "STORE_IN_USE"
        await store.close()

    async def test_newer_schema(self, shelf: SqliteShelf) -> None:
        """A store that a newer broker wrote is refused."""
        await (await shelf.open()).close()
        query(shelf, "INSERT INTO schema_migrations VALUES (9999, 'future', 0)")
        with pytest.raises(StoreUnavailable) as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_TOO_NEW"

    async def test_other_schema(self, shelf: SqliteShelf) -> None:
        """A store of which one number stood for another migration is refused, with both names."""
        await (await shelf.open()).close()
        query(shelf, "UPDATE schema_migrations SET name = 'other' WHERE version = 4")
        with pytest.raises(StoreUnavailable, match="migration 4 is other") as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_OTHER_SCHEMA"
        query(shelf, "UPDATE schema_migrations SET name = 'log' WHERE version = 4")
        await (await shelf.open()).close()

    async def test_first_schema(self, shelf: SqliteShelf) -> None:
        """A store of the first schema is brought up to date, and keeps its calls."""
        store = await shelf.open()
        await store.commit(first(new_call(1)))
        await store.close()
        past = ("past_receipts", "past_logs")
        tables = ("halts", "pieces", "files", "storage", "labels", "bundle", *past, *LOG_TABLES)
        for table in tables:
            query(shelf, f"DROP TABLE {table}")
        query(shelf, LOG_FACTS_GONE)
        query(shelf, "ALTER TABLE receipts DROP COLUMN place")
        query(shelf, "DELETE FROM schema_migrations WHERE version > 1")
        store = await shelf.open()
        assert list(await store.halts()) == []
        assert await store.get_call(call_id(1)) == new_call(1)
        await store.close()

    async def test_foreign_database(self, shelf: SqliteShelf) -> None:
        """Another program's database is refused, and left as it is."""
        query(shelf, "CREATE TABLE theirs (x)")
        before = shelf.path.read_bytes()
        with pytest.raises(StoreUnavailable) as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_FOREIGN"
        assert shelf.path.read_bytes() == before

    async def test_no_database(self, shelf: SqliteShelf) -> None:
        """A file that is no database is refused as damaged."""
        shelf.path.write_bytes(b"not a database, certainly not" * 100)
        with pytest.raises(StoreUnavailable) as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_DAMAGED"

    async def test_damaged(self, shelf: SqliteShelf) -> None:
        """A store with overwritten pages is refused."""
        store = await shelf.open()
        for number in range(50):
            documents = (samples.document(f"request {number}"),)
            await store.commit(first(new_call(number, CallState.DENIED), documents=documents))
        await store.close()
        whole = bytearray(shelf.path.read_bytes())
        # Pages of content in the midst, which nothing but the check would look at on opening.
        at = whole.index(b"request 25") // 4096 * 4096
        whole[at : at + 4096] = b"\xa5" * 4096
        shelf.path.write_bytes(whole)
        with pytest.raises(StoreUnavailable) as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_DAMAGED"

    @pytest.mark.parametrize("path", ["/proc/store.db", "/nonexistent/store.db", "/dev/null/x"])
    async def test_unwritable_folder(self, path: str) -> None:
        """A folder that is missing or takes no files is named in the refusal."""
        with pytest.raises(StoreUnavailable, match="existing folder"):
            await SqliteShelf(Path(path)).open()

    async def test_refused_opening_lets_go(self, shelf: SqliteShelf) -> None:
        """A refused opening keeps no lock: the mended store opens."""
        shelf.path.write_bytes(b"not a database, certainly not" * 100)
        with pytest.raises(StoreUnavailable):
            await shelf.open()
        shelf.path.unlink()
        await (await shelf.open()).close()

    async def test_files_of_the_first_schema(
        self, shelf: SqliteShelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Files that were kept before there were pieces are read, and counted, as they were."""
        first_alone = schema._shipped_migrations()[:1]
        data = bytes(3 * PIECE_BYTES)
        with monkeypatch.context() as patch, closing(sqlite3.connect(shelf.path)) as old:
            patch.setattr(schema, "_shipped_migrations", lambda: first_alone)
            schema.open_for_writing(shelf.path, lambda: samples.START, 1.0).close()
            insert = "INSERT INTO content (sha256, kind, subject, bytes) VALUES (?, ?, ?, ?)"
            with old:
                old.execute(insert, (sha256_hex(data), "file", AGENT, data))
                old.execute(insert, (sha256_hex(b"x"), "file", AGENT, b"x"))
                old.execute(insert, (sha256_hex(b"y"), "broker.request/v1", AGENT, b"y"))
        store = await shelf.open()
        assert await store.file(AGENT, sha256_hex(data)) == data
        assert await store.file_bytes(AGENT) == len(data) + 1
        assert await store.drop_expired_files(samples.START) == 0
        await store.close()

    async def test_receipts_from_before_the_log(self, shelf: SqliteShelf) -> None:
        """Receipts that were there before the log are its first entries.

        Its migrations are made up for, though a later one was applied already.
        """
        store = await shelf.open()
        for number in (1, 2):
            await store.commit(first(new_call(number, CallState.DENIED)))
        receipts = await store.list_receipts(after=0, limit=9)
        await store.close()
        for table in LOG_TABLES:
            query(shelf, f"DROP TABLE {table}")
        query(shelf, LOG_FACTS_GONE)
        query(shelf, "ALTER TABLE receipts DROP COLUMN place")
        query(shelf, "DELETE FROM schema_migrations WHERE version IN (4, 7, 9)")
        store = await shelf.open()
        assert await store.log_head() is None
        assert await store.log_entries(0, 9) == [receipt.envelope for receipt in receipts]
        await store.close()

    async def test_lost_nodes(self, shelf: SqliteShelf) -> None:
        """A node that the file lacks is a damage that is named, never a wrong proof."""
        store = await shelf.open()
        with pytest.raises(StoreUnavailable) as error:
            await store.fold_log(lambda read: read([Node(0, 0)]))
        assert error.value.reason == "STORE_DAMAGED"
        await store.close()

    async def test_failed_migration_leaves_nothing(
        self, shelf: SqliteShelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A migration that fails midway leaves the schema of before, which then migrates."""
        broken = [(1, "broken", "CREATE TABLE half (x); CREATE TABLE half (x);")]
        with monkeypatch.context() as patch:
            patch.setattr("broker.adapters.sqlite_store.schema._shipped_migrations", lambda: broken)
            with pytest.raises(StoreUnavailable):
                await shelf.open()
        await (await shelf.open()).close()
        assert query(shelf, "SELECT name FROM sqlite_schema WHERE name = 'half'") == []


class TestFiles:
    async def test_changed_behind_its_back(self, shelf: SqliteShelf) -> None:
        """A file whose bytes are not those of its digest is never given out."""
        store = await shelf.open()
        file = samples.file("x" * PIECE_BYTES + "the end")
        await store.commit(first(new_call(1), files=(file,)))
        assert await store.file(AGENT, file.sha256) == file.data
        query(shelf, "UPDATE pieces SET bytes = CAST('THE END' AS BLOB)")
        with pytest.raises(StoreUnavailable) as error:
            await store.file(AGENT, file.sha256)
        assert error.value.reason == "STORE_DAMAGED"
        await store.close()

    async def test_unfinished_ones_are_removed(self, shelf: SqliteShelf) -> None:
        """What was being staged when the broker ended takes no place in the file any more."""
        count = "SELECT (SELECT count(*) FROM content), (SELECT count(*) FROM pieces)"
        store = await shelf.open()
        staged = await store.begin_file(AGENT, b"first")
        await store.extend_file(staged, b"second")
        await store.close()
        assert query(shelf, count) == [(1, 1)]
        await (await shelf.open()).close()
        assert query(shelf, count) == [(0, 0)]

    async def test_erasing_gives_the_bytes_back(self, shelf: SqliteShelf) -> None:
        """Whatever removes a file's content row removes its pieces and its place in the count."""
        store = await shelf.open()
        files = (samples.file("x" * 3 * PIECE_BYTES), samples.file("stays"))
        await store.commit(first(new_call(1), files=files))
        query(shelf, f"DELETE FROM content WHERE sha256 = '{files[0].sha256}'")
        assert query(shelf, "SELECT count(*) FROM pieces") == [(0,)]
        assert await store.file_bytes(AGENT) == 5
        await store.close()

    async def test_a_large_one_lets_others_in(self, shelf: SqliteShelf) -> None:
        """A commit that comes behind a file of many pieces does not wait for its last."""
        store = await shelf.open()
        data = bytes(40 * PIECE_BYTES)
        staging = asyncio.create_task(
            stage_large(
                store,
                AGENT,
                [File(sha256=sha256_hex(data), data=data)],
                now=samples.START,
                expires_at=samples.START,
                most_bytes=len(data),
            )
        )
        await asyncio.sleep(0)
        await store.commit(first(new_call(1)))
        assert not staging.done()
        await staging
        await store.close()

    async def test_in_one_commit_it_does_not(self, shelf: SqliteShelf) -> None:
        """The twin: behind a file that comes in one commit, the next waits for all of it."""
        store = await shelf.open()
        data = bytes(40 * PIECE_BYTES)
        change = first(new_call(2), files=(File(sha256=sha256_hex(data), data=data),))
        whole = asyncio.create_task(store.commit(change))
        await asyncio.sleep(0)
        await store.commit(first(new_call(1)))
        assert whole.done()
        await store.close()


class TestTrouble:
    async def test_full_disk(self, shelf: SqliteShelf) -> None:
        """On a full disk nothing is written or acknowledged; with space again the chain goes on."""
        store = await shelf.open()
        await store.commit(first(new_call(0, CallState.DENIED)))
        data = bytes(1024 * 1024)
        file = File(sha256=sha256_hex(data), data=data)
        changes = [first(new_call(n, CallState.DENIED), files=(file,)) for n in (1, 2, 3)]
        with no_file_beyond(512 * 1024):
            ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends] == [StoreUnavailable] * 3
        assert list(await history.check_store(store)) == [call_id(0)]
        await store.commit(changes[2])
        assert list(await history.check_store(store)) == [call_id(0), call_id(3)]
        await store.close()
        store = await shelf.open()
        assert list(await history.check_store(store)) == [call_id(0), call_id(3)]
        await store.close()

    async def test_full_in_the_midst(self, shelf: SqliteShelf) -> None:
        """Where space runs out between the changes of a group, none of the group is written."""
        store = await shelf.open()
        await store.commit(first(new_call(0, CallState.DENIED)))
        connection = store._writer._chronicle.connection  # type: ignore[attr-defined]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        data = bytes(40 * 4096)
        file = File(sha256=sha256_hex(data), data=data)
        changes = [
            first(new_call(n, CallState.DENIED), files=(file,) if n == 2 else ()) for n in (1, 2, 3)
        ]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends] == [StoreUnavailable] * 3
        connection.execute("PRAGMA max_page_count = 4294967294")
        assert list(await history.check_store(store)) == [call_id(0)]
        await store.commit(changes[1])
        assert list(await history.check_store(store)) == [call_id(0), call_id(2)]
        await store.close()

    async def test_failing_database(self, shelf: SqliteShelf) -> None:
        """An error that is the database's own, not the change's, is said to be so."""
        store = await shelf.open()
        connection = store._writer._chronicle.connection  # type: ignore[attr-defined]
        connection.set_authorizer(
            lambda action, table, *_: (
                sqlite3.SQLITE_DENY
                if (action, table) == (sqlite3.SQLITE_INSERT, "events")
                else sqlite3.SQLITE_OK
            )
        )
        with pytest.raises(StoreUnavailable, match="not authorized"):
            await store.commit(first(new_call(1)))
        connection.set_authorizer(None)
        await store.commit(first(new_call(1)))
        assert len(await history.check_store(store)) == 1
        await store.close()

    async def test_locked(self, shelf: SqliteShelf) -> None:
        """A foreign program that locks the file stops commits, not reads; then they go on."""
        store = await SqliteStore.open(
            shelf.path, seal=samples.seal, now=lambda: samples.START, busy_timeout_s=0.05
        )
        await store.commit(first(new_call(1)))
        with closing(sqlite3.connect(shelf.path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.commit(following(new_call(1), Step.START))
            assert await store.get_call(call_id(1)) == new_call(1)
        await store.commit(following(new_call(1), Step.START))
        assert len(await history.check_store(store)) == 1
        await store.close()

    async def test_unencodable_text_harms_its_change_alone(self, shelf: SqliteShelf) -> None:
        """A lone surrogate fails the change that holds it, not those committed with it."""
        store = await shelf.open()
        changes = [first(new_call(1)), first(new_call(2, session_id="\ud800")), first(new_call(3))]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), UnicodeEncodeError, type(None)]
        assert sorted(await history.check_store(store)) == [call_id(1), call_id(3)]
        await store.close()

    async def test_a_copy_of_the_files_is_a_store(self, shelf: SqliteShelf, tmp_path: Path) -> None:
        """What is acknowledged stands in the files at that moment, as a crash would leave them."""
        store = await shelf.open()
        for number in range(20):
            await store.commit(first(new_call(number, CallState.DENIED)))
        copy = SqliteShelf(tmp_path / "copy" / "store.db")
        copy.path.parent.mkdir()
        for name in ("store.db", "store.db-wal"):
            shutil.copy(shelf.path.with_name(name), copy.path.with_name(name))
        await store.close()
        restored = await copy.open()
        assert len(await history.check_store(restored)) == 20
        await restored.close()


class TestGroups:
    async def test_one_commit_for_many(self, shelf: SqliteShelf) -> None:
        """Changes that wait together are written and committed together, at most 64 at once."""
        store = await shelf.open()
        statements: list[str] = []
        connection = store._writer._chronicle.connection  # type: ignore[attr-defined]
        connection.set_trace_callback(statements.append)
        await asyncio.gather(*(store.commit(first(new_call(n))) for n in range(200)))
        assert 4 <= statements.count("COMMIT") < 100
        assert sum(text.startswith("INSERT INTO calls") for text in statements) < 100
        assert "SAVEPOINT change" not in statements
        connection.set_trace_callback(None)
        await store.close()

    async def test_each_alone_where_one_is_refused(self, shelf: SqliteShelf) -> None:
        """Where one change of a group is refused, each is written by a savepoint of its own."""
        store = await shelf.open()
        statements: list[str] = []
        connection = store._writer._chronicle.connection  # type: ignore[attr-defined]
        connection.set_trace_callback(statements.append)
        taken = new_call(2, short_id=new_call(1).short_id)
        changes = [first(new_call(1)), first(taken), first(new_call(3, CallState.DENIED))]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), ShortIdTaken, StoredReceipt]
        assert statements.count("SAVEPOINT change") == statements.count("RELEASE change") == 3
        connection.set_trace_callback(None)
        assert sorted(await history.check_store(store)) == [call_id(1), call_id(3)]
        await store.close()

    async def test_steps_of_one_call_in_the_same_group(self, shelf: SqliteShelf) -> None:
        """A call's second step, in the group of its first, is written behind it."""
        store = await shelf.open()
        await asyncio.gather(
            store.commit(first(new_call(1))),
            store.commit(following(new_call(1), Step.START)),
        )
        stored = await store.get_call(call_id(1))
        assert stored is not None
        assert (stored.version, stored.state) == (2, CallState.RUNNING)
        assert len(await history.check_store(store)) == 1
        await store.close()

    async def test_one_workspace_moved_twice_in_the_same_group(self, shelf: SqliteShelf) -> None:
        """Of two changes that move a workspace from the same tree, the later one is refused."""
        store = await shelf.open()
        moves = [
            first(
                new_call(number),
                workspace=WorkspaceUpdate(
                    agent=AGENT,
                    session_id="session-1",
                    expected_sha256=None,
                    tree_sha256=sha256_hex(bytes([number])),
                ),
            )
            for number in (1, 2)
        ]
        ends = await asyncio.gather(*map(store.commit, moves), return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), PremiseChanged]
        await store.close()

    async def test_premise_set_in_the_same_group(self, shelf: SqliteShelf) -> None:
        """A premise that changes ahead of a change in its group refuses that change."""
        store = await shelf.open()
        await store.set_premise("policy.bundle", "b1", samples.event("policy.activated"))
        ends = await asyncio.gather(
            store.commit(first(new_call(1), premises=(("policy.bundle", "b1"),))),
            store.set_premise("policy.bundle", "b2", samples.event("policy.activated")),
            store.commit(first(new_call(2), premises=(("policy.bundle", "b1"),))),
            return_exceptions=True,
        )
        assert [type(end) for end in ends] == [type(None), type(None), PremiseChanged]
        await store.close()

    async def test_whoever_changed_the_premise_hears_first(self, shelf: SqliteShelf) -> None:
        """Before those whose change it refuses: they find what it is that changed."""
        store = await shelf.open()
        heard: list[str] = []

        async def start(number: int) -> None:
            with pytest.raises(PremiseChanged):
                await store.commit(first(new_call(number), premises=(("policy.bundle", "b1"),)))
            heard.append("refused")

        async def activate() -> None:
            await store.keep_bundle(samples.bundle(1), samples.event("policy.activated"))
            heard.append("kept")

        await asyncio.gather(activate(), *(start(number) for number in range(1, 9)))
        assert heard == ["kept", *["refused"] * 8]
        await store.close()

    async def test_the_bundle_never_goes_back(self, shelf: SqliteShelf) -> None:
        """Not by a statement that the broker does not know, either."""
        store = await shelf.open()
        await store.keep_bundle(samples.bundle(2), samples.event("policy.activated"))
        await store.close()
        for statement in ("UPDATE bundle SET number = 1", "DELETE FROM bundle"):
            with pytest.raises(sqlite3.IntegrityError):
                query(shelf, statement)
