"""Serve as `toolwarrant serve` does, but die by SIGKILL at a named step of publishing the log.

    python -m tests.e2e.crash.publishing TRACE STEP PASSAGE serve --config FILE

A step is the moment just before one write: what the write before it left is what the next life
finds. The interpreter itself tells of the writes (its audit events, its SQLite connections, fsync):
one that `STEPS` does not name, whoever added it, stands in TRACE as unnamed. Each step that was
passed stands there once. STEP may be `-`: then nothing dies.
"""

import os
import re
import signal
import sqlite3
import stat
import sys
import threading
from collections import Counter
from pathlib import Path

_FILES = ("bundle", "partial bundle", "tile", "partial tile", "checkpoint")
_FOLDERS = ("log folder", "tile folder", "partials folder")
_TABLES = {
    "log_entries": "entry",
    "log_batches": "batch",
    "log_leaves": "leaf",
    "log_nodes": "node",
    "log_checkpoints": "head",
    "log_cosignatures": "cosignature",
}
FIRST = ("make log folder", "sync store's folder", "make tile folder")
"""Steps that a log takes once only, or once in each life: `sync` comes with the store's opening."""
STEPS = (
    *(f"{step} {file}" for file in _FILES for step in ("create", "cut", "sync", "show")),
    *(f"{step} {folder}" for folder in _FOLDERS for step in ("make", "sync")),
    "sync store's folder",
    *("drop partials folder", "remove partials folder"),
    *("remove partial bundle", "remove partial tile"),
    *(f"record {row}" for row in _TABLES.values()),
    *(f"commit {row}" for row in ("entry", "batch", "head", "cosignature")),
    *("sign head", "ask witness", "hear witness"),
)
"""Every step, `cut` being a file of which half is written."""
# Of the store's opening and of calls, which tests/ports/test_sqlite_kill.py kills.
_OTHER_TABLES = frozenset(
    [
        *("bundle", "calls", "content", "events", "files", "halts", "labels", "meta", "people"),
        *("pieces", "premises", "receipts", "schema_migrations", "sqlite_master", "storage"),
        "workspaces",
    ]
)
_WRITES = re.compile(
    r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|REPLACE INTO)\s+(\w+)", re.I
)
_AUTHORISED = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)
# What changes files, or could do so out of our sight, and is no step.
_NEVER = re.compile(
    r"os\.(link|symlink|truncate|chmod|chown|utime|setxattr|removexattr|posix_spawn|fork|exec.*"
    r"|system)|subprocess\.Popen|tempfile\..*|shutil\..*|pty\.spawn"
)


class _Passages:
    """Count how often each step is passed; die at one of them."""

    def __init__(self, trace: Path, step: str, passage: int, store: Path) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._step, self._passage = step, passage
        self._counts: Counter[str] = Counter()
        self._turn = threading.Lock()
        self._is_dying = False
        self._log = store.with_name(f"{store.name}.tlog")
        # The store's own files, which `Ownership` and SQLite open.
        self._others = {str(store), f"{store}.lock", os.devnull}

    def passes(self, step: str, torn: int | None = None) -> None:
        """Pass a step; `torn` is a descriptor whose file loses its second half before the end."""
        with self._turn:
            self._counts[step] += 1
            if self._counts[step] == 1:
                known = step in STEPS
                os.write(self._trace, f"{step if known else f'unnamed: {step}'}\n".encode())
            if step == self._step and self._counts[step] == self._passage:
                # What follows is no write of the broker's.
                self._is_dying = True
                if torn is not None:
                    os.ftruncate(torn, os.fstat(torn).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

    def audits(self, event: str, args: tuple[object, ...]) -> None:
        """Take an audit event of the interpreter."""
        if self._is_dying:
            return
        if event == "open":
            path, _, flags = args
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            # A number is a file that was opened, and told of, before.
            if isinstance(flags, int) and flags & writes and not isinstance(path, int):
                self._about("create", self._path(path, -1))
        elif event == "os.rename":
            self._about("show", self._path(args[1], args[3]))
        elif event == "os.mkdir":
            self._about("make", self._path(args[0], args[2]), is_folder=True)
        elif event == "os.remove":
            self._about("remove", self._path(args[0], args[1]))
        elif event == "os.rmdir":
            self._about("remove", self._path(args[0], args[1]), is_folder=True)
        elif event == "shutil.rmtree":
            self._about("drop", self._path(args[0], -1), is_folder=True)
        elif _NEVER.fullmatch(event) and not self._is_other(args):
            self.passes(f"{event} {args}")

    def syncs(self, descriptor: int) -> None:
        """Take an fsync."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not is_folder:
            self._about("cut", path, torn=descriptor)
        self._about("sync", path, is_folder=is_folder)

    def _about(
        self, step: str, path: Path, *, is_folder: bool = False, torn: int | None = None
    ) -> None:
        if str(path) not in self._others:
            what = self._folder(path) if is_folder else self._file(path)
            self.passes(f"{step} {what}", torn)

    def _is_other(self, args: tuple[object, ...]) -> bool:
        """Tell whether an event is about a file of the store's."""
        on = args[0] if args else None
        path = Path(f"/proc/self/fd/{on}").readlink() if isinstance(on, int) else on
        return str(path) in self._others

    def _folder(self, path: Path) -> str:
        if path == self._log.parent:
            return "store's folder"
        if path == self._log:
            return "log folder"
        if not path.is_relative_to(self._log / "tile"):
            return str(path)
        return "partials folder" if path.suffix == ".p" else "tile folder"

    def _file(self, path: Path) -> str:
        name = path.name.removeprefix(".").removesuffix(".new")
        if path.parent == self._log and name == "checkpoint":
            return "checkpoint"
        if not path.is_relative_to(self._log / "tile"):
            return str(path)
        kind = "bundle" if path.is_relative_to(self._log / "tile" / "entries") else "tile"
        return f"partial {kind}" if path.parent.suffix == ".p" else kind

    @staticmethod
    def _path(path: object, folder: object) -> Path:
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
        if isinstance(folder, int) and folder >= 0:
            return Path(f"/proc/self/fd/{folder}").readlink() / text
        return Path(text).absolute()


class _Connection(sqlite3.Connection):
    """A connection whose writes are steps."""

    passages: _Passages

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._written: set[str] = set()
        self.set_authorizer(self._authorise)

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:  # type: ignore[override]
        if found := _WRITES.match(sql):
            self._written.add(found[1])
            if row := _TABLES.get(found[1]):
                self.passages.passes(f"record {row}")
        elif sql in ("COMMIT", "ROLLBACK"):
            if sql == "COMMIT":
                self._commit()
            self._written.clear()
        return super().execute(sql, *args)  # type: ignore[arg-type]

    def _commit(self) -> None:
        own = {"log_batches": "batch", "log_checkpoints": "head", "log_cosignatures": "cosignature"}
        for table, row in own.items():
            if table in self._written:
                self.passages.passes(f"commit {row}")
        if "log_entries" in self._written and not self._written & own.keys():
            self.passages.passes("commit entry")

    def _authorise(self, action: int, table: str | None, *_: object) -> int:
        if action in _AUTHORISED and table not in _OTHER_TABLES and table not in _TABLES:
            self.passages.passes(f"write {table}")
        return sqlite3.SQLITE_OK


def _watch(passages: _Passages) -> None:
    from broker import log
    from broker.adapters.witness_http import HttpWitnesses
    from broker.core.witness import Answer

    _Connection.passages = passages
    connect, fsync = sqlite3.connect, os.fsync
    sign, ask = log.sign_checkpoint, HttpWitnesses.add_checkpoint

    def connects(*args: object, **kwargs: object) -> sqlite3.Connection:
        return connect(*args, factory=_Connection, **kwargs)  # type: ignore[call-overload, no-any-return]

    def syncs(descriptor: int) -> None:
        passages.syncs(descriptor)
        fsync(descriptor)

    def signs(*args: object) -> bytes:
        passages.passes("sign head")
        return sign(*args)  # type: ignore[arg-type]

    async def asks(self: HttpWitnesses, witness: str, body: bytes) -> Answer:
        passages.passes("ask witness")
        answer = await ask(self, witness, body)
        passages.passes("hear witness")
        return answer

    sqlite3.connect, os.fsync = connects, syncs  # type: ignore[assignment]
    log.sign_checkpoint, HttpWitnesses.add_checkpoint = signs, asks  # type: ignore[assignment, method-assign]
    sys.addaudithook(passages.audits)


def main(trace: str, step: str, passage: str, *arguments: str) -> None:
    """Serve until told to stop, or until the step."""
    # What is loaded later would be written as bytecode.
    sys.dont_write_bytecode = True
    from broker.app import serve
    from broker.config import load

    config = Path(arguments[-1])
    _watch(_Passages(Path(trace), step, int(passage), load(config).store.path.resolve()))
    serve(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
