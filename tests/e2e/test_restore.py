"""A backup of the store is put back; the newer store is lost."""

import json
import shutil
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest

from broker.adapters.sqlite_store import last_bundle, recorded_log
from broker.client import ClientError, state_of
from broker.core.checkpoint import Checkpoint
from broker.core.dsse import read_envelope
from broker.core.lifecycle import CallState
from broker.core.trust_root import read_trust_root
from broker.finding import Level
from broker.init import initialise
from broker.store_findings import log_findings
from broker.v1 import call_pb2
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.log_folder import LogFolder
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.broker_process import DOCKER_URL, LABEL, PROGRAM, Folder, NotServed, Served
from tests.conftest import ServeOne
from tests.e2e.crash.test_kill import SLEEP, until_in
from tests.log.fakes import checkpoint_in

NAMED = ("origin", "size", "root_sha256")


def restore(served: Served, *options: str) -> subprocess.CompletedProcess[str]:
    """Declare the store restored."""
    command = [PROGRAM, "restore", "--config", served.folder.config, "-o", "json", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def backup(served: Served) -> Path:
    """Back the store up as docs/operating.md says."""
    copy = served.folder.path / "backup.db"
    with (
        closing(sqlite3.connect(served.folder.store)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def put_back(served: Served, copy: Path) -> None:
    """Put a backup in the store's place."""
    for path in served.folder.path.glob("toolwarrant.db*"):
        if path.suffix in (".db", ".db-wal", ".db-shm"):
            path.unlink()
    copy.rename(served.folder.store)


def log_of(served: Served) -> Path:
    """Give where the log's files are."""
    return served.folder.store.with_name("toolwarrant.db.tlog")


def audit(served: Served, log: Path) -> AuditVerdict:
    """Verify a whole log, as its auditor does."""
    folder = LogFolder(log)
    signed = folder.checkpoint()
    size = checkpoint_in(signed).size
    root = read_trust_root((served.folder.path / "trust-root.json").read_bytes())
    return verify_log(signed, folder.entries(size), root, leaves=folder.leaves(size))


def grown(served: Served, entries: int) -> None:
    """Wait until readers of the files see so many entries."""
    folder, deadline_s = LogFolder(log_of(served)), time.monotonic() + 30
    while not (log_of(served) / "checkpoint").exists() or (
        checkpoint_in(folder.checkpoint()).size < entries
    ):
        assert time.monotonic() < deadline_s


def log_found(served: Served) -> list[tuple[Level, str]]:
    """Give what doctor says of store and log, how bad it is."""
    return [(each.level, each.said) for each in log_findings(served.folder.store)]


def containers(installation: str) -> list[str]:
    """List an installation's containers."""
    with closing(docker.APIClient(DOCKER_URL)) as engine:
        label = {"label": f"{LABEL}={installation}"}
        return [str(each["Id"]) for each in engine.containers(all=True, filters=label)]


@pytest.fixture
def served(serve: ServeOne) -> Served:
    """A broker that runs one call at a time."""
    return serve({"sandbox": {"max_running": 1}})


def rehearsed(served: Served, copy: Path, path: Path) -> Folder:
    """Restore a copy of a store whose broker runs, in a folder of its own."""
    folder = served.folder.copy(path)
    shutil.copyfile(copy, folder.store)
    command = [PROGRAM, "restore", "--config", folder.config, "--force"]
    subprocess.run(command, capture_output=True, check=True)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What there was before the store was lost.

    Args:
        open: Calls that the backup has as held, approved, queued and running.
        unrun: Those of them that were not begun.
        lost: A call from after the backup.
        shown: What readers saw of the log last.
    """

    installation: str
    ended: call_pb2.Call
    held: call_pb2.Call
    open: tuple[call_pb2.Call, ...]
    unrun: tuple[call_pb2.Call, ...]
    lost: call_pb2.Call
    shown: Checkpoint


def lose(served: Served, rehearsal: Path) -> Before:
    """Let calls of every kind stand in a backup, go on, die, put the backup back."""
    agent = served.client()
    ended = agent.call("no_such_tool", {})
    held = agent.call("workspace_delete", {"path": "a.txt"}, request_id="once")
    approved = agent.call("workspace_delete", {"path": "b.txt"})
    with ThreadPoolExecutor(2) as threads:
        threads.submit(agent.call, "python_run", SLEEP)
        running = until_in(served, CallState.RUNNING)
        threads.submit(agent.call, "python_run", {"code": "print(1)"})
        queued = until_in(served, CallState.QUEUED)
        approver = served.client("approver")
        approver.approve(approved.name, approver.hold(approved.name).view_sha256, "fine")
        assert state_of(agent.get(approved.name)) is CallState.QUEUED
        copy = backup(served)
        # Beside the broker that runs it is the same installation's, whose containers it would end.
        with pytest.raises(NotServed, match="one store is a copy of the other"):
            Served(rehearsed(served, copy, rehearsal))
        assert len(containers(served.installation)) == 1
        lost = agent.call("no_such_tool", {})
        grown(served, agent.inclusion_proof(lost.name).index + 1)
        served.kill()
    shown = checkpoint_in(LogFolder(log_of(served)).checkpoint())
    put_back(served, copy)
    ((level, found),) = log_found(served)
    assert (level, "an older copy (STORE_BEHIND)" in found) == (Level.FAIL, True)
    return Before(
        installation=served.installation,
        ended=ended,
        held=held,
        open=(held, approved, queued, running),
        unrun=(approved, queued),
        lost=lost,
        shown=shown,
    )


def check_calls(served: Served, before: Before) -> None:
    """Fail where an old call is open or has run, lacks its receipt, or may be made again."""
    agent = served.client()
    for call in before.open:
        found = agent.get(call.name)
        assert (state_of(found), found.cause) == (CallState.INTERRUPTED, "store_restored")
        assert "it may have run" in found.message
    starts = [served.events(call.name).count("run.starting") for call in before.unrun]
    assert starts == [0, 0]
    assert agent.get(before.ended.name).receipt == before.ended.receipt
    with pytest.raises(ClientError) as refused:
        agent.inclusion_proof(before.ended.name)
    assert refused.value.reason == "LOG_PAST"
    with pytest.raises(ClientError):
        agent.get(before.lost.name)
    again = agent.call("workspace_delete", {"path": "a.txt"}, request_id="once")
    assert (again.name, state_of(again)) == (before.held.name, CallState.INTERRUPTED)


def resume(served: Served) -> call_pb2.Call:
    """Lift the halt of everything, which there has to be; give the first call that runs then."""
    agent, admin = served.client(), served.client("admin")
    (halt,) = admin.halts()
    assert halt.scope.all
    denied = agent.call("python_run", {"code": "print(2)"})
    assert denied.decision.reasons[0].rule == "broker.halted"
    admin.resume(halt.name)
    fresh = agent.call("python_run", {"code": "print(3)"})
    assert state_of(fresh) is CallState.SUCCEEDED
    return fresh


def check_logs(served: Served, before: Before, old_log: Path) -> None:
    """Fail where one of the two logs is not whole, or the new one does not name the old."""
    old, new = audit(served, old_log), audit(served, log_of(served))
    assert (old.validity, old.installation) == (Validity.VALID, before.installation)
    assert (new.validity, new.message) == (
        Validity.VALID,
        f"whole: {new.entries} entries, as signed",
    )
    assert new.installation == served.installation
    (entry, *_) = LogFolder(log_of(served)).entries(new.entries)
    first = json.loads(read_envelope(entry).payload)
    assert {name: first["halt"][f"previous_{name}"] for name in NAMED} == {
        "origin": before.shown.origin,
        "size": str(before.shown.size),
        "root_sha256": before.shown.root.hex(),
    }


@pytest.mark.timeout(180)
def test_put_back(served: Served, tmp_path: Path) -> None:
    """It does not start by itself; declared restored it starts halted, what was open ends
    INTERRUPTED and unrun, approved or not, and both logs verify, the new one naming the old.
    """
    before = lose(served, tmp_path / "rehearsal")
    with pytest.raises(NotServed, match=r"`toolwarrant restore`.*\[STORE_BEHIND\]"):
        served.start()
    assert len(containers(before.installation)) == 1

    done = restore(served)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["previous_size"], said["renewed"]) == (str(before.shown.size), True)
    served.start()

    assert served.installation == said["installation"] != before.installation
    assert containers(before.installation) == []
    check_calls(served, before)
    fresh = resume(served)
    root = read_trust_root((served.folder.path / "trust-root.json").read_bytes())
    proof = served.client().inclusion_proof(fresh.name).proof
    verdict = verify_receipt(fresh.receipt.encode(), root, proof=proof.encode())
    assert verdict.validity is Validity.VALID
    assert served.stop() == 0
    told = [PROGRAM, "audit", "timeline", said["old_log"], "--call", before.lost.name]
    assert "DENIED" in subprocess.run(told, capture_output=True, text=True, check=True).stdout
    check_logs(served, before, Path(said["old_log"]))


def test_not_behind(served: Served) -> None:
    """A store that nothing says to be old is not taken for one, nor one in use; by --force it is;
    where the machine died before the old log was moved, the command does the rest.
    """
    served.client().call("no_such_tool", {})
    grown(served, 1)
    assert "owns the store" in restore(served).stderr
    assert [level for level, _ in log_found(served)] == [Level.OK]
    assert served.stop() == 0
    copy = backup(served)
    assert recorded_log(copy, 0).installation == served.installation
    assert last_bundle(copy) is None
    assert [each.name for each in copy.parent.glob(f"{copy.name}*")] == [copy.name]
    refused = restore(served)
    assert refused.returncode != 0
    assert "--force [STORE_NOT_BEHIND]" in refused.stderr
    aside = log_of(served).rename(log_of(served).with_suffix(".aside"))
    assert [said.endswith("(LOG_FORKED)") for _, said in log_found(served)] == [True]
    aside.rename(log_of(served))
    done = json.loads(restore(served, "--force").stdout)
    assert f"already, as installation {done['installation']}" in restore(served).stderr
    assert [level for level, _ in log_found(served)] == [Level.OK]
    Path(done["old_log"]).rename(log_of(served))
    assert [said.endswith("(LOG_FORKED)") for _, said in log_found(served)] == [True]
    with pytest.raises(NotServed, match="give it again"):
        served.start()
    assert json.loads(restore(served).stdout) == {**done, "renewed": False}
    served.start()
    assert len(served.client("admin").halts()) == 1
    assert served.stop() == 0
    served.folder.store.unlink()
    assert [level for level, _ in log_found(served)] == [Level.FAIL]


def test_rotated(served: Served, tmp_path: Path) -> None:
    """Where the log's key was rotated a new log takes other keys with a trust root of their own,
    whose versions count anew; the old log's checkpoint is read by the trust root before.
    """
    served.client().call("no_such_tool", {})
    grown(served, 1)
    assert served.stop() == 0
    config = served.folder.config
    subprocess.run(
        [PROGRAM, "keys", "rotate", "log", "--config", config], check=True, capture_output=True
    )
    served.folder.set({"receipts": {"log_key": "file:keys/log-2.key"}})
    served.start()
    served.client().call("no_such_tool", {})
    assert served.stop() == 0
    refused = restore(served, "--force")
    assert "--old-trust-root" in refused.stderr

    new, old = tmp_path / "new", served.folder.path / "trust-root.json"
    initialise(new, now=datetime.now(UTC), report=lambda _: None)
    served.folder.set(
        {
            "receipts": {
                "key": f"file:{new}/keys/receipt.key",
                "log_key": f"file:{new}/keys/log.key",
                "trust_root": f"{new}/trust-root.json",
            }
        }
    )
    for options in ((), ("--old-trust-root", new / "trust-root.json")):
        refused = restore(served, "--force", *map(str, options))
        assert "no log key of the trust root signed it" in refused.stderr
    done = json.loads(restore(served, "--force", "--old-trust-root", str(old)).stdout)
    assert done["renewed"]
    served.start()
    assert served.installation == done["installation"]
