"""What uploads may cost: broken off, too large, too many, too slow, too much in all."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest

from broker.v1 import workspace_pb2
from tests.api.files import MIB, Slowly, noise, rows, sha256, staged_rows, wait_for
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, state, upload
from tests.conftest import ServeOne

PATIENT = {"uploads_per_agent": 100, "calls_per_second": 1000, "burst": 1000}


class Breaking(Exception):
    """A client that dies."""


def broken(parts: list[workspace_pb2.PutFileRequest]) -> Iterator[workspace_pb2.PutFileRequest]:
    """Send these, then break the stream off."""
    yield from parts
    raise Breaking


class TestBroken:
    def test_leaves_nothing(self, serve: ServeOne) -> None:
        """A stream that breaks off leaves no call, no file, no piece, no byte counted."""
        served = serve()
        agent = Rpc.of(served)
        parts = upload("f", noise(5 * MIB, seed=6))
        failure(lambda: agent.workspace.PutFile(broken(parts), timeout=TIMEOUT_S))
        assert state(agent.put("g", b"whole")) == "SUCCEEDED"
        wait_for(lambda: staged_rows(served) == 0)
        assert rows(served, "SELECT count(*) FROM pieces") == [(0,)]
        assert rows(served, "SELECT file_bytes FROM storage") == [(5,)]
        assert rows(served, "SELECT count(*) FROM calls") == [(1,)]

    def test_whole_leaves_a_file(self, serve: ServeOne) -> None:
        """The twin: the same messages with an end are a file and a call."""
        served = serve()
        parts = upload("f", noise(5 * MIB, seed=6))
        put = Rpc.of(served).workspace.PutFile(iter(parts), timeout=TIMEOUT_S)
        assert state(put.call) == "SUCCEEDED"
        assert rows(served, "SELECT file_bytes FROM storage") == [(5 * MIB,)]

    def test_crash_leaves_nothing(self, serve: ServeOne) -> None:
        """What was staged when the broker was killed is gone at its next start."""
        served = serve()
        slow = Slowly(upload("f", noise(2 * MIB, seed=7)))
        put = Rpc.of(served).workspace.PutFile.future(iter(slow), timeout=TIMEOUT_S)
        wait_for(lambda: rows(served, "SELECT count(*) FROM pieces")[0][0] > 2)
        served.kill()
        slow.go_on()
        failure(put.result)
        served.start()
        assert staged_rows(served) == 0
        assert rows(served, "SELECT count(*) FROM pieces") == [(0,)]
        assert state(Rpc.of(served).put("f", b"whole")) == "SUCCEEDED"

    def test_stopping_waits_for_none(self, serve: ServeOne) -> None:
        """A broker that is stopped under an upload ends cleanly; the upload is gone afterwards."""
        served = serve()
        slow = Slowly(upload("f", noise(MIB, seed=9)))
        put = Rpc.of(served).workspace.PutFile.future(iter(slow), timeout=TIMEOUT_S)
        wait_for(lambda: staged_rows(served) == 1)
        served.process.terminate()
        assert served.process.wait(timeout=TIMEOUT_S) == 0
        slow.go_on()
        failure(put.result)
        served.restart()
        assert staged_rows(served) == 0
        assert state(Rpc.of(served).put("f", b"whole")) == "SUCCEEDED"


class TestSize:
    def test_over_the_cap(self, serve: ServeOne) -> None:
        """A file is refused as soon as it is over the cap, announced or not; one at it is taken."""
        served = serve({"limits": {"upload_max_bytes": MIB}})
        agent = Rpc.of(served)
        assert state(agent.put("f", noise(MIB))) == "SUCCEEDED"
        # Refused though the stream never ends: nobody waits for the rest.
        endless = Slowly(upload("g", noise(MIB + 1)))
        found = failure(lambda: agent.workspace.PutFile(iter(endless), timeout=TIMEOUT_S))
        endless.go_on()
        said = Slowly(upload("g", b"", size_bytes=MIB + 1))
        announced = failure(lambda: agent.workspace.PutFile(iter(said), timeout=TIMEOUT_S))
        said.go_on()
        assert found.reason == announced.reason == "UPLOAD_TOO_LARGE"
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        wait_for(lambda: staged_rows(served) == 0)
        assert rows(served, "SELECT file_bytes FROM storage") == [(MIB,)]


class TestQuota:
    def test_over_it(self, serve: ServeOne) -> None:
        """An upload over what its agent may keep is refused, and nothing of it is stored."""
        served = serve({"limits": {"agent_file_bytes_max": MIB}})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        data = noise(MIB - 10)
        assert state(agent.put("f", data)) == "SUCCEEDED"
        announced = failure(lambda: agent.put("g", noise(11), size_bytes=11))
        found = failure(lambda: agent.put("g", noise(11)))
        for refusal in (announced, found):
            assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (refusal.reason, refusal.quotas) == ("QUOTA_SPENT", ("agent:file_bytes",))
            assert refusal.retry_s
        assert rows(served, "SELECT count(*) FROM calls") == [(1,)]
        assert state(agent.put("h", noise(10, seed=8))) == "SUCCEEDED"
        assert state(agent2.put("g", noise(11))) == "SUCCEEDED"

    def test_the_same_content_costs_nothing(self, serve: ServeOne) -> None:
        """What the agent keeps already goes anywhere else in its workspaces, by its digest."""
        served = serve({"limits": {"agent_file_bytes_max": MIB}})
        agent, data = Rpc.of(served), noise(MIB)
        assert state(agent.put("f", data)) == "SUCCEEDED"
        again = agent.put("g", data, session_id="other", sha256=sha256(data))
        assert state(again) == "SUCCEEDED"
        assert agent.fetch("g", session_id="other")[1] == data
        assert rows(served, "SELECT file_bytes FROM storage") == [(MIB,)]

    def test_survives_a_restart(self, serve: ServeOne) -> None:
        """The count is kept through a restart."""
        served = serve({"limits": {"agent_file_bytes_max": MIB}})
        Rpc.of(served).put("f", noise(MIB))
        served.restart()
        found = failure(lambda: Rpc.of(served).put("g", b"x"))
        assert found.reason == "QUOTA_SPENT"

    def test_parallel_uploads_see_each_other(self, serve: ServeOne) -> None:
        """Announced bytes count while they are on their way."""
        served = serve({"limits": {"agent_file_bytes_max": MIB}})
        agent = Rpc.of(served)
        data = noise(MIB)
        first, last = upload("f", data, size_bytes=MIB)[:-1], upload("f", data)[-1:]
        slow = Slowly(first, last)
        put = agent.workspace.PutFile.future(iter(slow), timeout=TIMEOUT_S)
        wait_for(lambda: staged_rows(served) == 1)
        assert failure(lambda: agent.put("g", b"x", size_bytes=1)).reason == "QUOTA_SPENT"
        slow.go_on()
        assert state(put.result().call) == "SUCCEEDED"

    def test_of_a_run(self, serve: ServeOne) -> None:
        """A run's outputs over the quota are left behind with a note; what fits is kept."""
        served = serve({"limits": {"agent_file_bytes_max": 100_000}})
        agent = Rpc.of(served)
        code = "for n in 'abc': open(f'/out/{n}', 'w').write(n * 40_000)"
        call = agent.execute("python_run", {"code": code})
        assert [output.path for output in call.result.outputs] == ["a", "b"]
        assert list(call.result.limits_hit) == ["quota"]
        assert "c: left behind" in call.result.notes[0]
        payload = base64.b64decode(json.loads(call.receipt)["payload"])
        result = json.loads(payload)["predicate"]["result"]
        assert (result["outputs"], result["limits_hit"]) == (2, ["quota"])
        assert rows(served, "SELECT file_bytes FROM storage") == [(80_000,)]
        again = agent.execute("python_run", {"code": code})
        assert [output.path for output in again.result.outputs] == ["a", "b"]

    def test_of_a_write(self, serve: ServeOne) -> None:
        """A write over the quota changes nothing, fails as workspace_full, and says why."""
        served = serve({"limits": {"agent_file_bytes_max": 100_000}})
        agent = Rpc.of(served)
        call = agent.execute("workspace_write", {"path": "f", "content": "x" * 100_001})
        assert (state(call), call.cause) == ("FAILED", "workspace_full")
        assert "than an agent may" in call.result.notes[0]
        assert rows(served, "SELECT count(*) FROM files") == [(0,)]
        fits = agent.execute("workspace_write", {"path": "f", "content": "x" * 100_000})
        assert state(fits) == "SUCCEEDED"

    def test_reading_costs_nothing(self, serve: ServeOne) -> None:
        """A large file is read back by an agent that may keep no more."""
        served = serve({"limits": {"agent_file_bytes_max": 3 * MIB}})
        agent, data = Rpc.of(served), noise(3 * MIB)
        agent.put("f", data)
        assert agent.fetch("f")[1] == data


class TestExpiry:
    def test_what_no_call_took(self, serve: ServeOne) -> None:
        """A denied upload can be named until its time is over, then it does not exist."""
        served = serve()
        agent, data = Rpc.of(served), b"SECRET=1"
        assert state(agent.put(".env", data)) == "DENIED"
        arguments = {"path": "f", "from_output": f"uploads/{sha256(data)}"}
        assert state(agent.execute("workspace_write", arguments, session_id="a")) == "SUCCEEDED"

        other = noise(100)
        assert state(agent.put(".env", other)) == "DENIED"
        served.stop()
        with closing(sqlite3.connect(served.folder.store)) as store, store:
            store.execute("UPDATE files SET expires_at_us = 1 WHERE expires_at_us IS NOT NULL")
        served.start()
        agent = Rpc.of(served)
        arguments = {"path": "f", "from_output": f"uploads/{sha256(other)}"}
        found = failure(lambda: agent.execute("workspace_write", arguments, session_id="b"))
        assert found.reason == "NOT_FOUND"
        assert agent.fetch("f", session_id="a")[1] == data


class TestManyAndSlow:
    def test_too_many_at_once(self, serve: ServeOne) -> None:
        """One upload more than an agent may have at once is refused; another agent's is not."""
        served = serve({"limits": {"uploads_per_agent": 2}})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        slow = [Slowly(upload(name, noise(MIB))) for name in "ab"]
        puts = [agent.workspace.PutFile.future(iter(s), timeout=TIMEOUT_S) for s in slow]
        wait_for(lambda: staged_rows(served) == 2)
        found = failure(lambda: agent.put("c", b"x"))
        assert (found.code, found.reason, found.quotas) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_UPLOADS",
            ("agent:uploads",),
        )
        assert state(agent2.put("c", b"x")) == "SUCCEEDED"
        for each in slow:
            each.go_on()
        assert [state(put.result().call) for put in puts] == ["SUCCEEDED"] * 2
        assert state(agent.put("c", b"x")) == "SUCCEEDED"

    def test_too_slow(self, serve: ServeOne) -> None:
        """A client that sends nothing is given up after the idle time; its bytes go."""
        served = serve({"limits": {"upload_idle_s": 1}})
        agent = Rpc.of(served)
        for parts in ([], upload("f", noise(MIB))):
            slow = Slowly(parts)
            found = failure(lambda s=slow: agent.workspace.PutFile(iter(s), timeout=TIMEOUT_S))
            slow.go_on()
            assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_TOO_SLOW")
        wait_for(lambda: staged_rows(served) == 0)

    def test_fifty_do_not_hold_up_others(self, serve: ServeOne) -> None:
        """While fifty clients stand still in the middle of their files, others are served."""
        served = serve({"limits": PATIENT})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        slow = [Slowly(upload(f"f{n}", noise(300_000, seed=n))) for n in range(50)]
        puts = [agent.workspace.PutFile.future(iter(s), timeout=TIMEOUT_S * 2) for s in slow]
        wait_for(lambda: staged_rows(served) == 50)
        session = fresh("s")
        data = noise(2 * MIB)
        assert state(agent2.put("f", data, session_id=session)) == "SUCCEEDED"
        assert agent2.fetch("f", session_id=session)[1] == data
        assert state(agent.execute("python_run", {"code": "print(1)"})) == "SUCCEEDED"
        for put in puts:
            put.cancel()
        for each in slow:
            each.go_on()
        wait_for(lambda: staged_rows(served) == 0)
        assert rows(served, "SELECT count(*) FROM files") == [(1,)]

    def test_fifty_that_do_not_read(self, serve: ServeOne) -> None:
        """While fifty clients leave their downloads unread, others are served."""
        served = serve({"limits": PATIENT})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        data = noise(8 * MIB)
        agent.put("f", data)
        # One call, so one run: what is probed is the sending.
        request = workspace_pb2.GetFileRequest(path="f", request_id="one")
        streams = [agent.workspace.GetFile(request, timeout=TIMEOUT_S * 2) for _ in range(50)]
        heads = [next(stream).head for stream in streams]
        assert {head.call.name for head in heads} == {heads[0].call.name}
        assert state(agent2.put("f", data)) == "SUCCEEDED"
        assert agent2.fetch("f")[1] == data
        assert b"".join(part.chunk for part in streams[-1]) == data
        for stream in streams:
            stream.cancel()

    def test_a_retry_is_no_new_call(self, serve: ServeOne) -> None:
        """At its limits of open calls and bytes an agent still re-attaches, by the digest alone."""
        limits = {
            "open_calls_per_agent": 1,
            "held_calls_per_agent": 1,
            "agent_file_bytes_max": MIB,
        }
        served = serve({"limits": limits})
        agent = Rpc.of(served)
        agent.put("f", b"old")
        data = noise(MIB - 3)
        held = agent.put("f", data, request_id="r")
        again = agent.put("f", b"", request_id="r", sha256=sha256(data), size_bytes=len(data))
        assert (state(held), again.name) == ("HELD", held.name)
        other = failure(lambda: agent.put("f", b"", request_id="r", sha256=sha256(b"x")))
        assert other.reason == "REQUEST_ID_REUSED"
        fresh_one = failure(lambda: agent.put("f", b"", request_id="q", sha256=sha256(data)))
        assert fresh_one.reason == "TOO_MANY_OPEN_CALLS"

    @pytest.mark.parametrize("what", ["rate", "open"])
    def test_calls_limits_come_first(self, serve: ServeOne, what: str) -> None:
        """Over its rate, or its open calls, an agent uploads nothing: no byte is read."""
        limits = {"rate": {"calls_per_second": 0.01, "burst": 2}, "open": {}}[what]
        if what == "open":
            limits = {"open_calls_per_agent": 1, "held_calls_per_agent": 1}
        served = serve({"limits": limits})
        agent = Rpc.of(served)
        if what == "rate":
            agent.put("f", b"x")
        else:
            agent.execute("workspace_delete", {"path": "x"})
        stuck = Slowly(upload("g", noise(MIB)))
        found = failure(lambda: agent.workspace.PutFile(iter(stuck), timeout=TIMEOUT_S))
        stuck.go_on()
        assert found.reason == {"rate": "RATE_LIMITED", "open": "TOO_MANY_OPEN_CALLS"}[what]
        assert staged_rows(served) == 0
