"""A backup of the store is put back; the newer store is lost."""

import json
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import docker
import pytest

from broker.adapters.sqlite_store import last_bundle, recorded_log
from broker.client import ClientError, state_of
from broker.core.dsse import read_envelope
from broker.core.lifecycle import CallState
from broker.core.trust_root import read_trust_root
from broker.finding import Level
from broker.store_findings import log_findings
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.log_folder import LogFolder
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.broker_process import DOCKER_URL, LABEL, PROGRAM, NotServed, Served
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


@pytest.mark.timeout(180)
def test_put_back(served: Served) -> None:
    """It does not start by itself; declared restored it starts halted, what was open ends
    INTERRUPTED and unrun, approved or not, and both logs verify, the new one naming the old.
    """
    agent, old = served.client(), served.installation
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
        lost = agent.call("no_such_tool", {})
        grown(served, agent.inclusion_proof(lost.name).index + 1)
        served.kill()
    shown = checkpoint_in(LogFolder(log_of(served)).checkpoint())
    put_back(served, copy)
    ((level, found),) = log_found(served)
    assert (level, "an older copy (STORE_BEHIND)" in found) == (Level.FAIL, True)
    with pytest.raises(NotServed, match=r"`toolwarrant restore`.*\[STORE_BEHIND\]"):
        served.start()
    assert len(containers(old)) == 1

    done = restore(served)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["previous_size"], said["renewed"]) == (str(shown.size), True)
    served.start()

    assert served.installation == said["installation"] != old
    assert containers(old) == []
    agent, admin = served.client(), served.client("admin")
    for call in (held, approved, queued, running):
        found = agent.get(call.name)
        assert (state_of(found), found.cause) == (CallState.INTERRUPTED, "store_restored")
        assert "it may have run" in found.message
    starts = [served.events(call.name).count("run.starting") for call in (approved, queued)]
    assert starts == [0, 0]
    assert agent.get(ended.name).receipt == ended.receipt
    with pytest.raises(ClientError) as refused:
        agent.inclusion_proof(ended.name)
    assert refused.value.reason == "LOG_PAST"
    with pytest.raises(ClientError):
        agent.get(lost.name)
    again = agent.call("workspace_delete", {"path": "a.txt"}, request_id="once")
    assert (again.name, state_of(again)) == (held.name, CallState.INTERRUPTED)

    (halt,) = admin.halts()
    assert halt.scope.all
    denied = agent.call("python_run", {"code": "print(2)"})
    assert denied.decision.reasons[0].rule == "broker.halted"
    admin.resume(halt.name)
    fresh = agent.call("python_run", {"code": "print(3)"})
    assert state_of(fresh) is CallState.SUCCEEDED

    root = read_trust_root((served.folder.path / "trust-root.json").read_bytes())
    proof = agent.inclusion_proof(fresh.name).proof
    verdict = verify_receipt(fresh.receipt.encode(), root, proof=proof.encode())
    assert verdict.validity is Validity.VALID
    assert served.stop() == 0
    told = [PROGRAM, "audit", "timeline", said["old_log"], "--call", lost.name]
    assert "DENIED" in subprocess.run(told, capture_output=True, text=True, check=True).stdout
    before, after = audit(served, Path(said["old_log"])), audit(served, log_of(served))
    assert (before.validity, before.installation) == (Validity.VALID, old)
    assert (after.validity, after.message) == (
        Validity.VALID,
        f"whole: {after.entries} entries, as signed",
    )
    assert after.installation == served.installation
    (entry, *_) = LogFolder(log_of(served)).entries(after.entries)
    first = json.loads(read_envelope(entry).payload)
    assert {name: first["halt"][f"previous_{name}"] for name in NAMED} == {
        "origin": shown.origin,
        "size": str(shown.size),
        "root_sha256": shown.root.hex(),
    }


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
