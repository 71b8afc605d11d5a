"""Another bundle decides in a broker that takes calls."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest

from broker.adapters.sqlite_store.call_record import load_call
from broker.cli.exits import Exit
from broker.client import ClientError
from broker.core.call import Call
from broker.v1 import call_pb2
from tests.activation.bundles import PROBE, Key, read, variant
from tests.api.rpc import rules, state
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.policies import compile_policy

PROGRAM = Path(sys.executable).with_name("toolwarrant")
CALLERS = 3
ACTIVATIONS = 4
ENDS_S = 30.0


class Made:
    """Makes bundles of one compiled policy, signed by the folder's own policy key."""

    def __init__(self, archive: bytes, folder: Folder) -> None:
        self._archive = archive
        self._key = Key.of(folder.path / "keys" / "policy.key")
        self._number = 0

    def next(self, *, closed: bool = False) -> bytes:
        """Give a bundle that is newer than all before; its rule names its number."""
        self._number += 1
        probe = {"rule": f"probe.n{self._number}", "closed": closed}
        return self._key.sign(variant(self._archive, self._number, probe))


@pytest.fixture(scope="module")
def probe(opa: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shipped policy with a package that does what data says."""
    return compile_policy(PROBE, tmp_path_factory.mktemp("probe"), opa).read_bytes()


@pytest.fixture(scope="module")
def living(
    development_folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A broker that begins with the shipped policy, takes signed bundles alone."""
    folder = development_folder.copy(tmp_path_factory.mktemp("living") / "dev", UNHURRIED)
    folder.set({"policy": {"unsigned_bundle": False}})
    with Served(folder) as running:
        yield running


@pytest.fixture(scope="module")
def made(probe: bytes, living: Served) -> Made:
    """Makes bundles for that broker."""
    return Made(probe, living.folder)


def decided(served: Served, purpose: str = "probe") -> call_pb2.Call:
    """Let policy decide a call, which the probe denies."""
    return served.client().call("python_run", {"code": "print('ran')"}, purpose=purpose)


def recorded(served: Served) -> list[Call]:
    """Read every call of the store."""
    with closing(served._store()) as store:
        return [load_call(record) for (record,) in store.execute("SELECT record FROM calls")]


class TestActivate:
    def test_the_next_call_is_decided_by_it(self, living, made):
        """The first bundle of a broker on the shipped policy; whoever asks hears of it."""
        bundle = made.next()
        done = living.client("policy").activate(bundle)
        call = decided(living)
        assert (state(call), rules(call)) == ("DENIED", [f"probe.n{done.number}"])
        assert call.decision.policy_revision == done.revision
        shown = living.client("policy").policy()
        assert (shown.revision, shown.number) == (done.revision, done.number)
        assert shown.bundle_sha256 == done.bundle_sha256 == read(bundle).sha256
        assert f"probe.n{done.number}" not in {rule.rule for rule in shown.rules}
        assert "probe.closed" in {rule.rule for rule in shown.rules}
        assert living.client("admin").server_info().policy_revision == done.revision
        (explained,) = living.client("auditor").explain(call.name).explanations
        assert explained.is_active_bundle

    def test_by_the_command(self, living, made, tmp_path):
        """`policy activate` says what decides now; the same file again changes nothing."""
        (tmp_path / "b.tar.gz").write_bytes(made.next())
        argv = [PROGRAM, "policy", "activate", tmp_path / "b.tar.gz"]
        argv += ["--config", living.folder.config, "--address", living.target]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == Exit.OK, done.stderr
        assert done.stdout.startswith(living.client("policy").policy().revision)
        assert "decides from now on, in the place of" in done.stderr
        again = living.client("policy").activate((tmp_path / "b.tar.gz").read_bytes())
        assert (again.is_new, again.previous_revision) == (False, again.revision)

    def test_refusals_have_code_and_reason(self, living, made, probe):
        """What is wrong with the bytes, what is wrong with their place; the old one decides on."""
        security = living.client("policy")
        older, active = made.next(), made.next()
        security.activate(active)
        found = []
        for archive in (variant(probe, 999), b"garbage", older):
            with pytest.raises(ClientError) as caught:
                security.activate(archive)
            found.append((caught.value.code, caught.value.reason))
        assert found == [
            (grpc.StatusCode.INVALID_ARGUMENT, "BUNDLE_UNSIGNED"),
            (grpc.StatusCode.INVALID_ARGUMENT, "BUNDLE_BROKEN"),
            (grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_OLDER"),
        ]
        assert decided(living).decision.policy_revision == read(active).revision

    def test_held_calls(self, living, made):
        """A new bundle alone invalidates nothing; at release what decides by then decides."""
        living.client("policy").activate(made.next())
        runs, ends = decided(living, "hold:open"), decided(living, "hold:closing")
        before = runs.decision.policy_revision
        done = living.client("policy").activate(made.next(closed=True))
        approver = living.client("approver")
        for call in (runs, ends):
            hold = approver.hold(call.name)
            approver.approve(call.name, hold.view_sha256, reason="as seen")
        ran, ended = (living.client().wait(call.name) for call in (runs, ends))
        assert (state(ran), ran.result.stdout_text) == ("SUCCEEDED", "ran\n")
        assert (state(ended), rules(ended)) == ("DENIED", ["probe.closed"])
        for call in (ran, ended):
            explained = living.client("auditor").explain(call.name).explanations
            assert [each.policy_revision for each in explained] == [before, done.revision]

    def test_under_load_none_is_lost_or_mixed(self, living, made):
        """Each decision is one bundle's: its rule, its revision, its digest."""
        first = made.next()
        known = {read(first).revision: read(first).sha256}
        living.client("policy").activate(first)
        is_over = threading.Event()

        def call_on() -> list[call_pb2.Call]:
            calls = []
            while not is_over.is_set():
                calls.append(decided(living))
            return calls

        with ThreadPoolExecutor(CALLERS) as pool, ending(is_over):
            callers = [pool.submit(call_on) for _ in range(CALLERS)]
            for _ in range(ACTIVATIONS):
                archive = made.next()
                known[read(archive).revision] = read(archive).sha256
                living.client("policy").activate(archive)
                # One that it decides, so that each has its share.
                decided(living)
            is_over.set()
            calls = [call for caller in callers for call in caller.result()]
        answered = {call.name: call.decision.policy_revision for call in calls}
        assert [rules(call) for call in calls] == [
            [f"probe.n{call.decision.policy_revision.split('-')[1]}"] for call in calls
        ]
        stored = {call.name: call.evaluations for call in recorded(living)}
        assert {name: stored[name][0].bundle_revision for name in answered} == answered
        assert all(len(stored[name]) == 1 for name in answered)
        assert all(known[e.bundle_revision] == e.bundle_sha256 for n in answered for e in stored[n])
        assert len(set(answered.values())) > 1

    def test_killed(self, living, made, tmp_path):
        """Whatever a killed broker was about to do: the next life has the last bundle, or this."""
        (tmp_path / "older.tar.gz").write_bytes(made.next())
        acknowledged = living.client("policy").activate(made.next())
        archive = made.next()
        with ThreadPoolExecutor(1) as pool:
            underway = pool.submit(living.client("policy").activate, archive)
            living.process.kill()
            living.process.wait()
            underway.exception()
        living.kill()
        # What the operator configured is signed, and older by now.
        living.folder.set({"policy": {"bundle": str(tmp_path / "older.tar.gz")}})
        living.start()
        found = living.client("policy").policy()
        assert found.revision in (acknowledged.revision, read(archive).revision)
        assert rules(decided(living)) == [f"probe.n{found.number}"]
        assert living.client("policy").activate(made.next()).number > found.number


@contextmanager
def ending(event: threading.Event) -> Iterator[None]:
    """Set an event, whatever happens."""
    try:
        yield
    finally:
        event.set()


class TestOpaChild:
    def test_the_child_gets_the_new_bundle(self, serve, probe, opa):
        """Its answers name the new revision; of the servers one is left."""
        served = serve(settings={"policy": {"engine": "opa", "opa_binary": opa, "timeout_s": 20.0}})
        made = Made(probe, served.folder)
        (first,) = children(served)
        exchanged = os.pidfd_open(first)
        done = served.client("policy").activate(made.next())
        call = decided(served)
        assert (rules(call), call.decision.policy_revision) == (["probe.n1"], done.revision)
        # Readable once the process has ended.
        assert select.select([exchanged], [], [], ENDS_S)[0]
        os.close(exchanged)
        (second,) = children(served)
        assert second != first


def children(served: Served) -> list[int]:
    """List the processes that a broker started, by their ids."""
    found = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    return [int(pid) for pid in found.split()]
