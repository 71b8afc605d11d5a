"""Let a broker die at named steps of publishing; prove after each what readers may trust."""

import base64
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from broker.core.checkpoint import Checkpoint
from broker.core.merkle_proof import check_consistency
from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    ed25519_pem,
    read_trust_root,
    write_trust_root,
)
from tests.broker_process import UNHURRIED, Folder, NotServed, Served
from tests.e2e.crash.load import Load
from tests.e2e.crash.proof import check_log, check_record, read_record
from tests.log.fakes import checkpoint_in
from tests.log.witness import HttpWitness

ROOT = Path(__file__).resolve().parents[3]
# Entries after which a store has had enough: each death has all of them verified.
_ENOUGH = 3_000
_DIES_WITHIN_S = 120.0
_DENIALS = 500
_WORKERS = 2
NO_STEP = "-"


class Stepwise(Served):
    """A broker that dies at a step; `step` and `passage` say of the next life which.

    Args:
        witness: Cosigns its log, whatever becomes of the broker.
    """

    def __init__(self, folder: Folder, witness: HttpWitness, step: str, passage: int = 1) -> None:
        self.witness = witness
        self.trace = folder.path / "steps"
        self.step, self.passage = step, passage
        # Of a life that may die before it has either.
        self.installation, self.target = "none", "127.0.0.1:1"
        super().__init__(folder, {"PYTHONPATH": str(ROOT)}, program=["-"])

    def start(self) -> None:
        """Start it; where it dies before it is ready, return all the same."""
        module = [sys.executable, "-m", "tests.e2e.crash.publishing"]
        self._program = (*module, str(self.trace), self.step, str(self.passage))
        try:
            super().start()
        except NotServed as death:
            if death.code != -signal.SIGKILL:
                raise
        else:
            self._introduce()

    def _introduce(self) -> None:
        # It may die at any time from now on: then the next life introduces it.
        with suppress(Exception):
            origin, _, key = self.client("auditor").checkpoint().verifier_key.partition("+")
            self.witness.logs[origin] = base64.b64decode(key.partition("+")[2])[1:]

    def dies(self, load: Load) -> None:
        """Wait until it has died at its step."""
        deadline_s = time.monotonic() + _DIES_WITHIN_S
        while self.process.poll() is None:
            if load.faults:
                raise load.faults[0]
            if time.monotonic() > deadline_s:
                said = f"{self.step!r} was not passed {self.passage} times, {load.done} calls done"
                raise AssertionError(said)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        load.dies()
        assert self.process.returncode == -signal.SIGKILL, self.words()
        self._close_clients()

    def steps(self) -> list[str]:
        """List the steps that were passed in any life, each once."""
        return sorted(set(self.trace.read_text().splitlines()))


class Reader:
    """Look at the published checkpoint again and again, in `with`; it may never go back."""

    def __init__(self, log: Path) -> None:
        self._file = log / "checkpoint"
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: dict[int, Checkpoint] = {}
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._thread.join()

    def _look(self) -> None:
        last, size = b"", 0
        while not self._is_ending.wait(0.002):
            try:
                data = self._file.read_bytes()
            except FileNotFoundError:
                if last:
                    self.faults.append("there is no checkpoint any more")
                continue
            if data == last:
                continue
            found, last = checkpoint_in(data), data
            if found.size < size:
                self.faults.append(f"it went back from {size} to {found.size}")
            if self.seen.setdefault(found.size, found) != found:
                self.faults.append(f"it was another one at {found.size}")
            size = found.size


@contextmanager
def witnessed(made: Folder, path: Path) -> Iterator[tuple[Folder, HttpWitness]]:
    """Give a folder whose log has a witness, which lives as long."""
    with HttpWitness({}) as witness:
        entry = f'[witnesses."one"]\nurl = "{witness.url}"\nkey = "{witness.vkey}"\n'
        folder = made.copy(path, UNHURRIED, entry)
        file = folder.path / "trust-root.json"
        root = read_trust_root(file.read_bytes())
        key = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(witness.public_key))
        file.write_text(write_trust_root(replace(root, keys=(*root.keys, key))))
        yield folder, witness


@contextmanager
def calling(served: Stepwise, seed: int) -> Iterator[Load]:
    """Call until the end of the load, or of a test that failed."""
    load = Load(served, seed, workers=_WORKERS, denials=_DENIALS)
    load.start()
    try:
        yield load
    except BaseException:
        load.give_up()
        raise


def survive(made: Folder, path: Path, deaths: list[tuple[str, int]], seed: int) -> list[str]:
    """Let one broker die at steps, the first of `deaths` first, until its log is long.

    Takes from `deaths` those that it died at; fails where readers could tell that it died.

    Args:
        deaths: Steps, each with the passage at which the broker dies.

    Returns:
        The steps that were passed.
    """
    with witnessed(made, path) as (folder, witness), Reader(_log_of(folder)) as reader:
        served = Stepwise(folder, witness, *deaths[0])
        with served, calling(served, seed) as load:
            kept: bytes | None = None
            while served.step != NO_STEP:
                served.dies(load)
                del deaths[0]
                kept = check(served, kept)
                is_last = not deaths or (kept is not None and checkpoint_in(kept).size > _ENOUGH)
                served.step, served.passage = (NO_STEP, 0) if is_last else deaths[0]
                served.start()
                load.born()
            load.wait_for_answers(20)
            load.end()
            check_growth(served, reader)
            assert served.stop() == 0
            last = check(served, kept)
        record = read_record(folder.store)
        assert last is not None
        assert checkpoint_in(last).size == len(record.entries)
        told = {call: record.states[call].value for call in load.acknowledged}
        assert told == load.acknowledged
        assert "FORKED" not in "".join(log.read_text() for log in folder.path.glob("serve-*"))
        steps = served.steps()
    assert reader.faults == []
    return steps


def check(served: Stepwise, kept: bytes | None) -> bytes | None:
    """Fail where a call or receipt is lost, or the log that is shown is not whole, or went back.

    Args:
        kept: What this gave before.

    Returns:
        The checkpoint that readers see.
    """
    store, trust_root = served.folder.store, served.folder.path / "trust-root.json"
    if not store.exists() or not store.stat().st_size:
        assert kept is None
        return None
    record = read_record(store)
    if record.states:
        check_record(record, trust_root)
    return check_log(record, store, trust_root, kept)


def check_growth(served: Stepwise, reader: Reader) -> None:
    """Fail where the broker cannot prove that the log grew from each head that was ever seen."""
    auditor = served.client("auditor")
    latest = checkpoint_in(auditor.checkpoint().checkpoint.encode())
    for size, head in sorted(reader.seen.items()):
        if size:
            proof = auditor.consistency_proof(size, latest.size).hashes
            check_consistency(
                first=size,
                first_root=head.root,
                second=latest.size,
                second_root=latest.root,
                proof=[base64.b64decode(each) for each in proof],
            )


def _log_of(folder: Folder) -> Path:
    return folder.store.with_name(f"{folder.store.name}.tlog")
