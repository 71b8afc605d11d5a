"""Output while it comes: through gRPC, from real containers."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from broker.client import Output
from broker.v1 import call_pb2, execution_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure, fresh, state
from tests.broker_process import PROGRAM, Served

MIB = 1 << 20
CHATTY = """
import os, time
for number in range(100):
    os.write(1 + number % 2, f"{number} ä ".encode())
    time.sleep(0.01)
"""
BYTE_BY_BYTE = """
import os
for _ in range(1 << 20):
    os.write(1, b"x")
"""
GOES_ON = "import time; print('begun'); time.sleep(600)"
FLOOD = "import os\nwhile True: os.write(1, b'y' * 4096)"


class Place:
    """What a reader has seen, as the API counts it."""

    def __init__(self) -> None:
        self.request = execution_pb2.WatchCallRequest()
        self.events: list[str] = []
        self.data = {"stdout": b"", "stderr": b""}
        self.pieces = 0
        self.call = call_pb2.Call()

    def take(self, message: execution_pb2.WatchCallResponse) -> None:
        """Note a message; a piece of output must follow on what was seen."""
        self.request.after_sequence = message.sequence
        if not message.HasField("output"):
            self.events.append(message.type)
            self.call = message.call if message.HasField("call") else self.call
            return
        piece = message.output
        name = execution_pb2.OutputStream.Name(piece.stream).removeprefix("OUTPUT_STREAM_").lower()
        assert piece.offset == len(self.data[name])
        self.data[name] += piece.data or piece.text.encode()
        setattr(self.request, f"{name}_offset", len(self.data[name]))
        self.pieces += 1


def start(rpc: Rpc, code: str, **fields: object) -> call_pb2.Call:
    """Call `python_run` without waiting for its run."""
    return rpc.execute("python_run", {"code": code}, no_wait=True, **fields)


def watch(rpc: Rpc, place: Place, call: str) -> Iterator[execution_pb2.WatchCallResponse]:
    """Watch from where a reader is."""
    request = execution_pb2.WatchCallRequest()
    request.CopyFrom(place.request)
    request.call = call
    found: Iterator[execution_pb2.WatchCallResponse] = rpc.execution.WatchCall(
        request, timeout=TIMEOUT_S
    )
    return found


def watch_to_the_end(rpc: Rpc, call: str) -> Place:
    """Watch all of a call."""
    place = Place()
    for message in watch(rpc, place, call):
        place.take(message)
    return place


@pytest.fixture
def agent(served: Served) -> Rpc:
    """The stubs of `agent`."""
    return Rpc.of(served)


class TestResume:
    def test_a_client_that_is_cut_at_every_piece(self, agent: Rpc) -> None:
        """A stream that is cut after each message and taken up there loses and repeats nothing."""
        call = start(agent, CHATTY)
        place, cuts = Place(), 0
        while not place.events or place.events[-1] != "call.succeeded":
            stream = watch(agent, place, call.name)
            place.take(next(stream))
            stream.cancel()  # type: ignore[attr-defined]
            cuts += 1
        result = agent.get(call.name).result
        assert (place.data["stdout"], place.data["stderr"]) == (
            result.stdout_text.encode(),
            result.stderr_text.encode(),
        )
        assert place.events == ["call.received", "call.allowed", "run.starting", "call.succeeded"]
        assert cuts > 10

    def test_at_the_end_as_in_the_middle(self, agent: Rpc) -> None:
        """Who comes when the call has ended gets the same bytes, not live any more."""
        call = start(agent, CHATTY)
        early = watch_to_the_end(agent, call.name)
        late = list(watch(agent, Place(), call.name))
        pieces = [message.output for message in late if message.HasField("output")]
        assert not any(piece.live for piece in pieces)
        assert "".join(piece.text for piece in pieces).encode() == (
            early.data["stdout"] + early.data["stderr"]
        )

    def test_a_client_does_it_by_itself(self, served: Served) -> None:
        """`Client.watch` gives typed pieces; from any place it goes on."""
        client = served.client()
        call = client.call("python_run", {"code": CHATTY}, no_wait=True)
        whole = b"".join(
            item.data
            for item in client.watch(call.name)
            if isinstance(item, Output) and item.stream == "stderr"
        )
        rest = b"".join(
            item.data
            for item in client.watch(call.name, stderr_offset=10)
            if isinstance(item, Output) and item.stream == "stderr"
        )
        assert len(whole) > 100
        assert rest == whole[10:]

    def test_negative_places_are_refused(self, agent: Rpc) -> None:
        """A negative offset is an invalid argument."""
        call = agent.execute("no_such_tool")
        for field in ("stdout_offset", "stderr_offset"):
            request = execution_pb2.WatchCallRequest(call=call.name, **{field: -1})
            found = failure(lambda request=request: list(agent.execution.WatchCall(request)))
            assert found.fields == (field,)


class TestFlood:
    def test_a_mebibyte_of_single_bytes(self, agent: Rpc) -> None:
        """A mebibyte written byte by byte is streamed whole, in few messages, as it is stored."""
        call = start(agent, BYTE_BY_BYTE)
        place = watch_to_the_end(agent, call.name)
        assert (state(place.call), place.data["stdout"]) == ("SUCCEEDED", b"x" * MIB)
        assert agent.get(call.name).result.stdout_text.encode() == place.data["stdout"]
        assert place.call.result.stdout_size_bytes == MIB
        assert place.call.result.stdout_text == ""
        assert (
            dict(place.call.result.sources).items()
            >= {"cause": "launcher", "usage": "cgroup"}.items()
        )
        assert place.call.usage.max_pids > 1
        assert place.pieces < 2_000

    def test_readers_who_do_not_read_cost_nobody(self, served: Served, agent: Rpc) -> None:
        """A hundred idle readers of a flood delay neither its end nor other calls, nor cost
        what they have not read; when they read, all of it comes.
        """
        idle = Rpc.of(served)
        # What a broker takes once, for its first floods, is not the readers'.
        for _ in range(3):
            agent.execute("python_run", {"code": FLOOD})
        before_bytes = served.resident_bytes()
        call = start(agent, FLOOD)
        streams = [watch(idle, Place(), call.name) for _ in range(100)]
        with ThreadPoolExecutor(4) as pool:
            others = list(
                pool.map(lambda _: agent.execute("python_run", {"code": "print(1)"}), range(8))
            )
        assert {state(other) for other in others} == {"SUCCEEDED"}
        ended = agent.wait(call.name)
        assert (state(ended), ended.cause) == ("KILLED", "output_cap")
        # Each of them keeping the output, or the result, would be 100 MiB at the least.
        assert served.resident_bytes() - before_bytes < 90 * MIB
        for stream in (streams[0], streams[-1]):
            place = Place()
            for message in stream:
                place.take(message)
            assert place.data["stdout"] == b"y" * MIB
            assert place.events[-1] == "call.killed"
        for stream in streams:
            stream.cancel()  # type: ignore[attr-defined]

    def test_a_hundred_who_read(self, agent: Rpc, served: Served) -> None:
        """A hundred readers of one call each get all of it."""
        readers = Rpc.of(served)
        call = start(agent, CHATTY)
        with ThreadPoolExecutor(100) as pool:
            places = list(pool.map(lambda _: watch_to_the_end(readers, call.name), range(100)))
        result = agent.get(call.name).result
        assert {place.data["stdout"] for place in places} == {result.stdout_text.encode()}
        assert {place.data["stderr"] for place in places} == {result.stderr_text.encode()}


class TestRestart:
    def test_a_broker_that_dies_in_the_middle(self, serve: object) -> None:
        """After the restart the stream goes on to its end, which says INTERRUPTED."""
        assert callable(serve)
        served: Served = serve()
        call = start(Rpc.of(served), GOES_ON)
        place = Place()
        stream = watch(Rpc.of(served), place, call.name)
        while not place.data["stdout"]:
            place.take(next(stream))
        assert place.events[-1] == "run.starting"
        served.kill()
        with pytest.raises(grpc.RpcError):
            next(stream)
        served.start()
        for message in watch(Rpc.of(served), place, call.name):
            place.take(message)
        assert (place.events[-1], state(place.call)) == ("call.interrupted", "INTERRUPTED")
        assert (place.data["stdout"], bool(place.call.receipt)) == (b"begun\n", True)


class TestWhoSees:
    def test_another_agent(self, served: Served, agent: Rpc) -> None:
        """Another agent's call does not exist, whether it runs or has ended."""
        call = start(agent, GOES_ON)
        other = Rpc.of(served, "agent2")
        assert failure(lambda: list(watch(other, Place(), call.name))).reason == "NOT_FOUND"
        cancel = execution_pb2.CancelCallRequest(call=call.name)
        agent.execution.CancelCall(cancel, timeout=TIMEOUT_S)
        assert state(agent.wait(call.name)) == "CANCELLED"
        assert failure(lambda: list(watch(other, Place(), call.name))).reason == "NOT_FOUND"

    def test_an_auditor(self, served: Served, agent: Rpc) -> None:
        """An auditor sees what the tool writes, as they see the result."""
        call = start(agent, "print('seen')")
        assert watch_to_the_end(Rpc.of(served, "auditor"), call.name).data["stdout"] == b"seen\n"


class TestNoWait:
    def test_is_no_part_of_the_request(self, agent: Rpc) -> None:
        """The same request_id with and without `no_wait` is the same call."""
        request_id = fresh("r")
        call = start(agent, "print(1)", request_id=request_id)
        assert state(call) in {"QUEUED", "RUNNING"}
        again = agent.execute("python_run", {"code": "print(1)"}, request_id=request_id)
        assert (again.name, state(again)) == (call.name, "SUCCEEDED")

    def test_a_denial_comes_at_once(self, agent: Rpc) -> None:
        """What is denied is final, with its receipt."""
        call = agent.execute("no_such_tool", no_wait=True)
        assert (state(call), bool(call.receipt)) == ("DENIED", True)


class TestCommandLine:
    def test_follow_prints_while_it_runs(self, served: Served, agent: Rpc) -> None:
        """`call --follow` prints what a running tool has written, before its end is known."""
        session = fresh("follow")
        following = subprocess.Popen(
            [
                *(str(PROGRAM), "call", "python_run", json.dumps({"code": GOES_ON}), "-f"),
                *("--session", session, "--config", str(served.folder.config)),
                *("--address", served.target),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert following.stdout is not None
        assert following.stdout.readline() == b"begun\n"
        listed = execution_pb2.ListCallsRequest(filter=f"session={session} state=RUNNING")
        (running,) = agent.execution.ListCalls(listed, timeout=TIMEOUT_S).calls
        agent.execution.CancelCall(execution_pb2.CancelCallRequest(call=running.name))
        out, err = following.communicate(timeout=60)
        assert (following.returncode, out) == (5, b"")
        assert err.startswith(b"CANCELLED  ")

    def test_bytes_are_those_of_the_tool(self, served: Served) -> None:
        """Piped, both streams are the tool's bytes; what became of the call comes last."""
        code = r"import os; os.write(1, b'\xff\x1b[2J'); os.write(2, b'\x00err\n')"
        done = subprocess.run(
            [
                *(str(PROGRAM), "call", "python_run", json.dumps({"code": code}), "--follow"),
                *("--config", str(served.folder.config), "--address", served.target),
            ],
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == b"\xff\x1b[2J"
        assert done.stderr.startswith(b"\x00err\nSUCCEEDED  ")

    def test_watch_gives_programs_a_document_a_line(self, served: Served, agent: Rpc) -> None:
        """`calls watch -o json`: events and output, each one JSON document."""
        call = agent.execute("python_run", {"code": "print('hi')"})
        done = subprocess.run(
            [
                *(str(PROGRAM), "calls", "watch", call.short_id, "-o", "json"),
                *("--config", str(served.folder.config), "--address", served.target),
            ],
            capture_output=True,
            check=True,
            timeout=60,
        )
        items = [json.loads(line) for line in done.stdout.splitlines()]
        assert [item["type"] for item in items] == [
            "call.received",
            "call.allowed",
            "run.starting",
            "run.output",
            "call.succeeded",
        ]
        assert items[3]["output"]["text"] == "hi\n"
