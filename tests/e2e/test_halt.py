"""Halts on a real broker with real containers."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import docker
import grpc
import pytest

from broker.client import ClientError
from broker.core.trust_root import read_trust_root
from broker.init import SPIFFE_PREFIX
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import Rpc, fresh, rules, state
from tests.broker_process import DOCKER_URL, LABEL, PROGRAM, Served
from tests.e2e.halting import SLEEP, halt, run_sleepers, until
from tests.e2e.test_sign_off import approve, hold, refused, reject, view_of

A, B = f"{SPIFFE_PREFIX}agent", f"{SPIFFE_PREFIX}agent2"
EIGHT = {"sandbox": {"max_running": 8}}


@pytest.fixture(scope="module")
def shared(people_folder, compile_team, tmp_path_factory) -> Iterator[Served]:
    """A broker of this module's own: halts here stop nobody else's tests."""
    from tests.e2e.policies import STEERED

    folder = people_folder.copy(
        tmp_path_factory.mktemp("halted") / "dev",
        {"policy": {"bundle": str(compile_team(STEERED))}, **EIGHT},
    )
    with Served(folder) as running:
        yield running


class TestScopes:
    @pytest.mark.parametrize("kind", ["all", "agent", "session", "tool", "another tool"])
    def test_kills_exactly_those(self, shared, kind):
        """A halt kills the containers in its scope and no other; nothing in it comes anew."""
        first, second, other = fresh("s"), fresh("s"), fresh("s")
        sleepers = [("agent", first), ("agent", second), ("agent2", other)]
        scope, covered = {
            "all": ({"everything": True}, sleepers),
            "agent": ({"agent": A}, sleepers[:2]),
            "session": ({"agent": A, "session": first}, sleepers[:1]),
            "tool": ({"tool": "python_run"}, sleepers),
            "another tool": ({"tool": "workspace_write"}, []),
        }[kind]
        with ThreadPoolExecutor(len(sleepers)) as pool:
            calls = run_sleepers(shared, pool, sleepers)
            with halt(shared, **scope) as done:
                ended = {who: calls[who].result() for who in covered}
                left = len(sleepers) - len(covered)
                until(lambda: len(shared.containers()) == left, f"{left} containers are left")
                running = [who for who, call in calls.items() if not call.done()]
                new = {
                    who: state(
                        shared.client(who[0]).call("python_run", {"code": "1"}, session=who[1])
                    )
                    for who in sleepers
                }
            for who, session in running:
                (call,) = shared.client(who).calls(f"session={session} state=RUNNING")
                shared.client(who).cancel(call.name)
            assert done.killed == len(covered)
        assert {(state(call), call.cause) for call in ended.values()} <= {("KILLED", "halted")}
        assert running == [who for who in sleepers if who not in covered]
        assert new == {who: "DENIED" if who in covered else "SUCCEEDED" for who in sleepers}

    def test_denied_with_a_receipt(self, shared):
        """A new call under a halt is denied, told what to do, and has a receipt that verifies."""
        session = fresh("s")
        client = shared.client("agent")
        with halt(shared, "the reason of an operator", agent=A, session=session):
            call = client.call("python_run", {"code": "1"}, session=session)
            checked = client.check("python_run", {"code": "1"}, session=session)
        found = client.receipt(call.name)
        root = read_trust_root((shared.folder.path / "trust-root.json").read_bytes().strip())
        verdict = verify_receipt(
            found.receipt.encode(), root, request=found.request_document.encode(), result=None
        )
        assert verdict.validity is Validity.VALID
        assert rules(call) == ["broker.halted"]
        assert [reason.rule for reason in checked.decision.reasons] == ["broker.halted"]
        told = call.decision.reasons[0].agent_message
        assert "lifted" in told
        for secret in ("operator of", "the reason of an operator", "admin"):
            assert secret not in str(call)


class TestWaiting:
    def test_votes(self, shared):
        """A held call under a halt is not approved but can be rejected; its agent reads why."""
        session = fresh("s")
        agent = Rpc.of(shared)
        first, second = (hold(agent, session_id=session) for _ in range(2))
        views = {call.name: view_of(shared, call) for call in (first, second)}
        with halt(shared, agent=A, session=session) as done:
            assert done.waiting == 2
            assert refused(lambda: approve(shared, "approver", first.name, views[first.name])) == (
                "FAILED_PRECONDITION",
                "HALTED",
            )
            assert state(reject(shared, "approver", second.name, views[second.name])) == "REJECTED"
            read = agent.get(first.name)
            assert (state(read), read.halted, "halted" in read.message) == ("HELD", True, True)
        read = agent.get(first.name)
        assert (read.halted, "halted" in read.message) == (False, False)
        approve(shared, "approver", first.name, views[first.name])
        assert state(agent.wait(first.name)) == "SUCCEEDED"

    def test_a_restart_keeps_it(self, serve_steered):
        """A halt outlives a killed broker: what was queued waits, and goes on when it is lifted."""
        served = serve_steered(settings={"sandbox": {"max_running": 1}})
        with ThreadPoolExecutor(2) as pool:
            run_sleepers(served, pool, [("agent2", "busy")])
            queued = pool.submit(
                served.client("agent").call,
                "python_run",
                {"code": "print('ran')"},
                session="queued",
                request_id="queued",
            )
            until(
                lambda: bool(served.client("agent").calls("session=queued state=QUEUED")), "queued"
            )
            done = served.client("admin").halt("kept", agent=A)
            served.kill()
            queued.exception()
        served.start()
        admin, agent = served.client("admin"), served.client("agent")
        (kept,) = admin.halts()
        (call,) = agent.calls("session=queued")
        assert (kept.name, kept.reason, kept.durable) == (done.halt.name, "kept", True)
        assert (state(call), call.halted) == ("QUEUED", True)
        assert state(agent.call("python_run", {"code": "1"})) == "DENIED"
        other = served.client("agent2").call("python_run", {"code": "1"})
        assert state(other) == "SUCCEEDED"
        assert "run.starting" not in served.events(call.name)
        assert [one.name for one in admin.resume(everything=True)] == [done.halt.name]
        assert state(agent.wait(call.name)) == "SUCCEEDED"
        assert served.events(call.name).count("run.starting") == 1


def alive(served: Served) -> list[str]:
    """List the containers of a broker in which something lives, as the Engine says."""
    with closing(docker.APIClient(DOCKER_URL)) as engine:
        found = engine.containers(filters={"label": f"{LABEL}={served.installation}"})
    return [str(container["Id"]) for container in found]


class TestStore:
    def test_away(self, serve_steered):
        """Where the store takes nothing, containers die all the same; the answer says so."""
        served = serve_steered()
        admin = served.client("admin")
        with ThreadPoolExecutor(1) as pool:
            calls = run_sleepers(served, pool, [("agent", "s")])
            with closing(sqlite3.connect(served.folder.store, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert len(alive(served)) == 1
                with pytest.raises(ClientError) as caught:
                    admin.halt("the disk is full", everything=True)
                until(lambda: alive(served) == [], "everything in the container is dead")
                (active,) = admin.halts()
                assert not active.durable
                other.execute("ROLLBACK")
            assert (caught.value.code, caught.value.reason) == (
                grpc.StatusCode.UNAVAILABLE,
                "HALT_NOT_DURABLE",
            )
            assert active.name in caught.value.message
            call = calls["agent", "s"].result()
        until(lambda: admin.halts()[0].durable, "it is durable")
        assert (state(call), call.cause) == ("KILLED", "halted")
        served.restart()
        (kept,) = served.client("admin").halts()
        assert (kept.name, kept.durable) == (active.name, True)


class TestRaces:
    def test_twenty_at_once(self, serve_steered):
        """Twenty calls race with halts: after the last one nothing starts, nothing runs."""
        served = serve_steered(settings=EIGHT)
        agent, admin = served.client("agent"), served.client("admin")

        def call(number: int) -> str:
            return state(agent.call("python_run", {"code": SLEEP}, session=f"s{number}"))

        with ThreadPoolExecutor(20) as pool:
            calls = [pool.submit(call, number) for number in range(20)]
            for _ in range(5):
                until(lambda: bool(agent.calls("state=RUNNING")), "something runs")
                done = admin.halt("race", everything=True)
                admin.resume(done.halt.name)
            last = admin.halt("the last", everything=True)
            until(lambda: not agent.calls("state=RUNNING"), "nothing runs")
            until(lambda: served.containers() == [], "no container is left")
            with closing(sqlite3.connect(served.folder.store)) as store:
                events = [
                    kind for (kind,) in store.execute("SELECT type FROM events ORDER BY sequence")
                ]
            after = events[len(events) - events[::-1].index("halt.set") :]
            assert "run.starting" not in after
            assert last.halt.durable
            for waiting in agent.calls("state=QUEUED", limit=20):
                agent.cancel(waiting.name)
            states = {each.result() for each in calls}
        assert states <= {"KILLED", "DENIED", "CANCELLED"}
        assert "KILLED" in states


class TestCommands:
    def run(self, served: Served, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the program against a broker."""
        keep = {key: text for key, text in os.environ.items() if not key.startswith("TOOLWARRANT_")}
        return subprocess.run(
            [PROGRAM, *words, "--config", served.folder.config, "--address", served.target],
            env=keep,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def test_drill(self, shared):
        """A drill kills its own calls alone, says how long it took, and leaves no halt."""
        with ThreadPoolExecutor(1) as pool:
            session = fresh("s")
            calls = run_sleepers(shared, pool, [("agent", session)])
            done = self.run(shared, "halt", "--drill", "--drill-calls", "3", "-o", "json")
            bystander = calls["agent", session]
            untouched = not bystander.done()
            (call,) = shared.client("agent").calls(f"session={session}")
            shared.client("agent").cancel(call.name)
        found = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert (found["calls"], found["killed"], found["dead"]) == (3, 3, 3)
        assert found["last_dead_ms"] > 0
        assert untouched
        assert shared.client("admin").halts() == []
        ended = shared.client("agent").calls(f"session={found['session']}")
        assert [(state(each), each.cause) for each in ended] == [("KILLED", "halted")] * 3

    def test_drill_of_more_than_can_run(self, shared):
        """A drill that not all its calls took part in says so, by its exit code too."""
        done = self.run(shared, "halt", "--drill", "--drill-calls", "10")
        assert done.returncode == 1
        assert "(8 of 8 running calls" in done.stdout
        assert "2 more did not begin, for want of a free sandbox" in done.stderr
        assert shared.client("admin").halts() == []

    def test_drill_under_a_halt(self, shared):
        """A drill whose calls cannot run says so, halts nothing and touches no halt."""
        with halt(shared, everything=True) as other:
            done = self.run(shared, "halt", "--drill", "--drill-calls", "1")
            assert [one.name for one in shared.client("admin").halts()] == [other.halt.name]
        assert (done.returncode, done.stdout) == (1, "")
        assert "broker.halted" in done.stderr

    def test_halt_list_resume(self, shared):
        """What an operator types: halt, look, lift; others' words are escaped."""
        session = fresh("s")
        words = ("--agent", A, "--session", session, "--reason", "red \x1b[31m")
        halted = self.run(shared, "halt", *words, "-o", "json")
        name = json.loads(halted.stdout)["halt"]["name"].removeprefix("halts/")
        again = self.run(shared, "halt", *words)
        listed = self.run(shared, "halts")
        lifted = self.run(shared, "resume", name.lower())
        gone = self.run(shared, "resume", name)
        assert [each.returncode for each in (halted, again, listed, lifted, gone)] == [
            *(0, 0, 0, 0),
            7,
        ]
        assert "it was halted before" in again.stdout
        assert r"red \u{1B}[31m" in listed.stdout
        assert (session in listed.stdout, "admin-person" in listed.stdout) == (True, True)
        assert f"lifted {name}" in lifted.stdout

    @pytest.mark.parametrize(
        "words",
        [
            ("halt", "--reason", "x"),
            ("halt", "--all"),
            ("halt", "--all", "--tool", "t", "--reason", "x"),
            ("halt", "--session", "s", "--reason", "x"),
            ("halt", "--drill", "--all"),
            ("resume",),
            ("resume", "ABCDEFGH", "--all"),
            ("resume", "not-an-id"),
        ],
    )
    def test_wrong_usage(self, shared, words):
        """A command that names nothing, or two things, does nothing: exit code 2."""
        done = self.run(shared, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert shared.client("admin").halts() == []

    def test_an_agent_may_not(self, shared):
        """The button is the administrators'."""
        before = len(shared.client("agent").calls(limit=1_000))
        for words in (("--all", "--reason", "x"), ("--drill",)):
            done = self.run(shared, "halt", *words, "--as", "agent")
            assert done.returncode == 7
            assert "ROLE_REQUIRED" in done.stderr
        assert len(shared.client("agent").calls(limit=1_000)) == before
