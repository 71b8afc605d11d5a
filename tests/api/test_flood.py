"""What one peer can do to the others by asking a lot."""

import asyncio
import json
import secrets
import socket
from collections import Counter

import grpc
import pytest
from grpc import aio

from broker.v1 import approval_pb2, approval_pb2_grpc, execution_pb2, execution_pb2_grpc
from tests.api.rpc import TIMEOUT_S, Failure, Rpc, failure, fresh, read_failure, rules, state, wish
from tests.broker_process import UNHURRIED, Served

EXECUTE = "/broker.v1.ExecutionService/ExecuteTool"


def aio_channel(served: Served, identity: str, number: int = 0) -> aio.Channel:
    """Open an asynchronous channel with a connection of its own."""
    options = [("toolwarrant.test.channel", number), ("grpc.use_local_subchannel_pool", 1)]
    return aio.secure_channel(served.target, served.credentials(identity), options)


class TestFullSpeed:
    async def test_rate(self, serve):
        """Over its rate an agent is refused before anything is stored; others are served."""
        served = serve()
        async with aio_channel(served, "agent") as channel:
            stub = execution_pb2_grpc.ExecutionServiceStub(channel)
            # Below the streams that one connection may have: those are refused by HTTP/2 itself.
            gate = asyncio.Semaphore(500)

            async def one() -> object:
                try:
                    async with gate:
                        answer = await stub.ExecuteTool(wish("no_such_tool"), timeout=TIMEOUT_S)
                    return answer.call
                except aio.AioRpcError as error:
                    return read_failure(error)

            before, log_before = served.rows(), served.log.stat().st_size
            agent2 = Rpc.of(served, "agent2")
            other, *answers = await asyncio.gather(
                asyncio.to_thread(agent2.execute, "no_such_tool"), *[one() for _ in range(2_000)]
            )
        calls = [answer for answer in answers if not hasattr(answer, "code")]
        refused = [answer for answer in answers if hasattr(answer, "code")]
        after = served.rows()
        assert state(other) == "DENIED"
        assert {(one.code, one.reason, one.domain, one.quotas) for one in refused} == {
            (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "RATE_LIMITED",
                "toolwarrant",
                ("agent:calls_per_second",),
            )
        }
        assert min(one.retry_s for one in refused) > 0
        assert len(refused) > 1_000
        # Each call of either agent has its row, and nothing else has one.
        assert after["calls"] - before["calls"] == len(calls) + 1
        assert after["receipts"] - before["receipts"] == len(calls) + 1
        assert after["events"] - before["events"] == 2 * (len(calls) + 1)
        # The log has a bounded text for each call, none for a refusal.
        assert served.log.stat().st_size - log_before < 1_000 * (len(calls) + 1)

    def test_rate_left_behind(self, serve):
        """The twin: with a higher rate the same requests are all calls."""
        served = serve(UNHURRIED)
        agent = Rpc.of(served)
        assert {state(agent.execute("no_such_tool")) for _ in range(200)} == {"DENIED"}

    @pytest.mark.parametrize(
        ("arguments", "after"),
        [([0.1] * 4_983, "RATE_LIMITED"), ("0.1," * 4_983, "DENIED")],
        ids=["numbers", "text"],
    )
    def test_values(self, serve, arguments, after):
        """Many numbers cost an agent the calls after them, as much text does not."""
        served = serve({"limits": {"calls_per_second": 0.01, "burst": 20}})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        first = agent.execute("no_such_tool", {"a": arguments})
        try:
            found = state(agent.execute("no_such_tool"))
        except grpc.RpcError as error:
            found = read_failure(error).reason
        assert (state(first), found) == ("DENIED", after)
        assert state(agent2.execute("no_such_tool")) == "DENIED"

    def test_open_calls(self, serve):
        """An agent that has as many open calls as it may is refused; nothing is stored."""
        limits = {"open_calls_per_agent": 3, "held_calls_per_agent": 3}
        served = serve({"limits": limits})
        agent = Rpc.of(served)
        held = [agent.execute("workspace_delete", {"path": "x"}) for _ in range(3)]
        before = served.rows()
        found = failure(lambda: agent.execute("workspace_delete", {"path": "x"}))
        after = served.rows()
        agent.execution.CancelCall(execution_pb2.CancelCallRequest(call=held[0].name))
        assert (found.code, found.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_OPEN_CALLS",
        )
        assert (found.quotas, found.retry_s is not None) == (("agent:open_calls",), True)
        assert after == before
        assert state(agent.execute("workspace_delete", {"path": "x"})) == "HELD"
        assert state(Rpc.of(served, "agent2").execute("no_such_tool")) == "DENIED"

    def test_sessions(self, serve):
        """A session above an agent's number is refused, after a restart too; nothing is stored."""
        served = serve({"limits": {"sessions_per_agent": 2}})
        agent = Rpc.of(served)
        used = [agent.execute("workspace_list", session_id=name) for name in ("one", "two")]
        found = _third_session(agent, served)
        served.restart()
        agent = Rpc.of(served)
        found += _third_session(agent, served)
        used += [agent.execute("workspace_list", session_id=name) for name in ("one", "two")]
        used.append(Rpc.of(served, "agent2").execute("workspace_list", session_id="three"))
        assert {(one.code, one.reason, one.quotas) for one in found} == {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_SESSIONS", ("agent:sessions",))
        }
        assert min(one.retry_s for one in found) > 80_000
        assert {state(call) for call in used} == {"SUCCEEDED"}

    def test_holds(self, serve):
        """Holds above an agent's number are denied; another agent's are held as ever."""
        served = serve({"limits": {"held_calls_per_agent": 2}})
        agent, agent2 = Rpc.of(served), Rpc.of(served, "agent2")
        calls = [agent.execute("workspace_delete", {"path": "x"}) for _ in range(3)]
        assert [state(call) for call in calls] == ["HELD", "HELD", "DENIED"]
        assert rules(calls[2]) == ["broker.too_many_holds"]
        assert state(agent2.execute("workspace_delete", {"path": "x"})) == "HELD"


class TestReading:
    async def test_large_results(self, serve):
        """Others are answered after few of one agent's reads, however many it has under way."""
        served = serve(UNHURRIED)
        code = "import os; os.write(1, bytes([1]) * 1_000_000)"
        call = await asyncio.to_thread(Rpc.of(served).execute, "python_run", {"code": code})
        request = execution_pb2.GetCallRequest(call=call.name)
        agent2, ended = Rpc.of(served, "agent2"), 0
        async with aio_channel(served, "agent") as channel:
            stub = execution_pb2_grpc.ExecutionServiceStub(channel)

            async def read() -> None:
                nonlocal ended
                await stub.GetCall(request, timeout=TIMEOUT_S)
                ended += 1

            reads = [asyncio.create_task(read()) for _ in range(150)]
            await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            before = ended
            await asyncio.to_thread(lambda: [agent2.execute("no_such_tool") for _ in range(3)])
            meanwhile = ended - before
            await asyncio.gather(*reads)
        # A call waits for a read at a few steps of its way, not for all that are under way.
        assert meanwhile < 18


class TestMalformed:
    async def test_ten_thousand(self, served):
        """Ten thousand malformed requests leave the broker serving, with its memory as it was."""
        bodies = [
            secrets.token_bytes(200),
            b"\x0a\xff\xff\xff\xff\x0f",
            wish("x" * 3_000).SerializeToString(),
            wish("python_run", "{" * 500).SerializeToString(),
            wish("python_run", json.dumps({"code": 1, "x": "y" * 2_000})).SerializeToString(),
            wish("python_run", "{}", purpose="p" * 5_000).SerializeToString(),
        ]

        async def send(channels: list[aio.Channel], count: int) -> Counter[grpc.StatusCode]:
            gate = asyncio.Semaphore(200)

            async def one(number: int) -> grpc.StatusCode:
                method = channels[number % len(channels)].unary_unary(EXECUTE)
                async with gate:
                    call = method(bodies[number % len(bodies)], timeout=TIMEOUT_S)
                    return await call.code()

            return Counter(await asyncio.gather(*[one(number) for number in range(count)]))

        channels = [aio_channel(served, "agent", number) for number in range(4)]
        rows = served.rows()
        await send(channels, 1_000)
        warm = served.resident_bytes()
        found = await send(channels, 10_000)
        grown = served.resident_bytes() - warm
        for channel in channels:
            await channel.close()
        assert found == {grpc.StatusCode.INVALID_ARGUMENT: 10_000}
        assert served.rows() == rows
        assert grown < 32 * 1024 * 1024
        assert state(Rpc.of(served, "agent2").execute("no_such_tool")) == "DENIED"

    def test_raw_connections(self, served):
        """Peers that speak no TLS, or nothing at all, hold up nobody."""
        host, _, port = served.target.rpartition(":")
        peers = [socket.create_connection((host, int(port)), timeout=10) for _ in range(100)]
        for number, peer in enumerate(peers):
            if number % 2:
                peer.sendall(secrets.token_bytes(500))
        call = Rpc.of(served).execute("no_such_tool")
        for peer in peers:
            peer.close()
        assert state(call) == "DENIED"

    def test_oversized(self, served, agent):
        """A message above the limit is refused; the next on the same connection is served."""
        found = failure(lambda: agent.raw(EXECUTE, bytes(5 * 1024 * 1024)))
        assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert state(agent.execute("no_such_tool")) == "DENIED"


class TestIdle:
    async def test_a_thousand_streams(self, serve):
        """A thousand watchers wait while others are served; each learns of the end."""
        served = serve(UNHURRIED)
        client, agent2 = served.client("approver"), Rpc.of(served, "agent2")
        call = Rpc.of(served).execute("workspace_delete", {"path": fresh()})
        last = served.events(call.name)
        assert last[-1] == "call.held"
        calls, holds = aio_channel(served, "agent"), aio_channel(served, "approver")
        watch = execution_pb2_grpc.ExecutionServiceStub(calls)
        look = approval_pb2_grpc.ApprovalServiceStub(holds)
        watching = [
            watch.WatchCall(execution_pb2.WatchCallRequest(call=call.name)) for _ in range(500)
        ]
        looking = [look.WatchHolds(approval_pb2.WatchHoldsRequest()) for _ in range(500)]
        async with asyncio.timeout(60):
            await asyncio.gather(*[stream.read() for stream in (*watching, *looking)])
        served_meanwhile = await asyncio.to_thread(
            lambda: [state(agent2.execute("no_such_tool")) for _ in range(50)]
        )
        view = await asyncio.to_thread(client.hold, call.name)
        await asyncio.to_thread(client.reject, call.name, view.view_sha256, "no")
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*[_last(stream) for stream in watching])
            closed = await asyncio.gather(*[stream.read() for stream in looking])
        for stream in looking:
            stream.cancel()
        await calls.close()
        await holds.close()
        assert served_meanwhile == ["DENIED"] * 50
        assert {state(end.call) for end in ends} == {"REJECTED"}
        assert {state(answer.call) for answer in closed} == {"REJECTED"}

    async def test_streams_left_open(self, serve):
        """A broker that is stopped does not wait for idle watchers."""
        served = serve()
        async with aio_channel(served, "approver") as channel:
            stub = approval_pb2_grpc.ApprovalServiceStub(channel)
            streams = [stub.WatchHolds(approval_pb2.WatchHoldsRequest()) for _ in range(20)]
            await asyncio.to_thread(Rpc.of(served).execute, "workspace_delete", {"path": "x"})
            await asyncio.gather(*[stream.read() for stream in streams])
            assert await asyncio.to_thread(served.stop) == 0


def _third_session(agent: Rpc, served: Served) -> list[Failure]:
    """Try a call and an upload in a session that is one too many; look that nothing is stored."""
    before = served.rows()
    found = [
        failure(lambda: agent.execute("workspace_list", session_id="three")),
        failure(lambda: agent.put("a.txt", b"a", session_id="three")),
    ]
    assert served.rows() == before
    return found


async def _last(stream: aio.UnaryStreamCall) -> execution_pb2.WatchCallResponse:
    last = None
    while (message := await stream.read()) is not aio.EOF:
        last = message
    assert last is not None
    return last


@pytest.fixture(autouse=True)
def _nothing_left(served: Served) -> None:
    """Each test begins with a broker that serves."""
    assert served.process.poll() is None
