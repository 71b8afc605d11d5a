"""What a tool writes, as it comes out of a real container."""

import asyncio
import json
import socket
import struct
from dataclasses import replace

import docker

from broker.adapters.docker_engine.ending import Stop
from broker.adapters.docker_engine.wire import Wire
from broker.core.call import Cause
from broker.core.collect import Harvest
from broker.core.frames import KEY_BYTES, Frame, FrameKind
from broker.core.output import OutputBuffer, Source
from broker.core.sandbox import Collect, Report
from tests.sandbox.bench import MIB, Bench, job, tool_runs

MIXED = """
import os, time
for number in range(5):
    os.write(1 + number % 2, b"%d" % number)
    time.sleep(0.05)
"""
BYTE_BY_BYTE = """
import os
for _ in range(1 << 20):
    os.write(1, b"x")
"""
ENDLESS_BYTES = """
import os
while True:
    os.write(1, b"o")
    os.write(2, b"e")
"""
# Each byte is written when the launcher has taken the last one, signals meanwhile; the seconds that
# it took come last.
SIGNALLED_BYTES = """
import os, select, signal, time
poll = select.poll()
poll.register(os.open("/proc/self/fd/1", os.O_RDONLY), select.POLLIN)
begun = time.monotonic()
for _ in range(4000):
    os.write(1, b"x")
    os.kill(1, signal.SIGCHLD)
    while poll.poll(0):
        os.kill(1, signal.SIGCHLD)
        os.sched_yield()
os.write(2, str(time.monotonic() - begun).encode())
"""
MANY = """
import os
children = []
for _ in range(20):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    children.append(writer)
for writer in children:
    os.close(writer)
for _ in children:
    os.wait()
"""
FRAMES_LATER = r"""
import os, struct
end = struct.pack(">cI", b"Z", 34) + bytes(34)
os.write(1, b"before" + end + struct.pack(">cI", b"O", 5) + b"after")
raise SystemExit(7)
"""
STRAGGLER = """
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"late ")
        time.sleep(0.01)
time.sleep(0.1)
"""


class Recorder(OutputBuffer):
    """A sink that keeps each piece apart, too."""

    def __init__(self, cap_bytes: int) -> None:
        super().__init__(cap_bytes)
        self.pieces: list[tuple[Source, bytes]] = []
        self.came = asyncio.Event()

    def take(self, source: Source, data: bytes) -> None:
        """Note it, keep it."""
        self.pieces.append((source, data))
        self.came.set()
        super().take(source, data)


async def run(bench: Bench, code: str, **caps: int) -> tuple[Report, Recorder]:
    """Run a program with a recorder as its sink."""
    sandbox = await bench.prepare()
    work = job(code, **caps)  # type: ignore[arg-type]
    recorder = Recorder(work.output_bytes)
    try:
        return await sandbox.run(work, recorder), recorder
    finally:
        await sandbox.discard()


class TestStreaming:
    """Output on its way."""

    async def test_both_streams_come_in_their_order(self, bench: Bench) -> None:
        """Writes to the two streams, one after the other, arrive in that order."""
        _, recorder = await run(bench, MIXED)
        assert recorder.pieces == [
            (Source.STDOUT, b"0"),
            (Source.STDERR, b"1"),
            (Source.STDOUT, b"2"),
            (Source.STDERR, b"3"),
            (Source.STDOUT, b"4"),
        ]

    async def test_it_comes_before_the_end(self, bench: Bench, client: docker.APIClient) -> None:
        """What a tool writes is there while the tool runs on."""
        sandbox = await bench.prepare(starts_ahead=False)
        work, recorder = job("import time; print('now', flush=True); time.sleep(600)"), Recorder(99)
        running = asyncio.create_task(sandbox.run(work, recorder))
        await tool_runs(client, sandbox)
        await recorder.came.wait()
        assert not running.done()
        assert (recorder.is_ended, recorder.kept(Source.STDOUT)) == (False, b"now\n")
        await sandbox.kill(Cause.CANCELLED)
        report = await running
        await sandbox.discard()
        assert (report.cause, report.stdout.data) == (Cause.CANCELLED, b"now\n")

    async def test_the_report_has_what_the_sink_kept(self, bench: Bench) -> None:
        """A sink in front of the buffer decides what is stored: the one place to change bytes."""

        class Shouting(OutputBuffer):
            def take(self, source: Source, data: bytes) -> None:
                super().take(source, data.upper())

        sandbox = await bench.prepare()
        report = await sandbox.run(job("print('quiet')"), Shouting(MIB))
        await sandbox.discard()
        assert (report.stdout.data, report.stdout.size_bytes) == (b"QUIET\n", 6)


class TestFlood:
    """Many writes, each of nearly nothing."""

    most_pieces = 10_000

    async def test_a_mebibyte_of_single_bytes_is_gathered(self, bench: Bench) -> None:
        """A mebibyte in writes of one byte comes whole, in pieces that are worth their frames."""
        report, recorder = await run(bench, BYTE_BY_BYTE)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"x" * MIB)
        assert len(recorder.pieces) < self.most_pieces

    async def test_two_streams_of_single_bytes_end_at_the_cap(self, bench: Bench) -> None:
        """A tool that changes its stream with every byte ends at the cap, others are served."""
        (report, recorder), other = await asyncio.gather(
            run(bench, ENDLESS_BYTES, output_bytes=100_000), bench.run("print('served')")
        )
        assert (report.cause, other.stdout.data) == (Cause.OUTPUT_CAP, b"served\n")
        assert max(len(recorder.kept(source)) for source in Source) == 100_000
        assert len(recorder.pieces) < 10_000

    async def test_signals_to_the_launcher_end_no_pause(self, bench: Bench) -> None:
        """A tool that signals with every byte gets no more frames than the time has room for."""
        report, recorder = await run(bench, SIGNALLED_BYTES)
        assert (report.cause, report.stdout.data) == (Cause.EXITED, b"x" * 4000)
        # 32 in each window of 20 ms, one window begun before, one after.
        room = 32 * (float(report.stderr.data) / 0.02 + 2)
        assert len(recorder.pieces) <= room

    async def test_thousands_of_frames_at_once_leave_others_their_turn(self, bench: Bench) -> None:
        """However many frames one read brings, the event loop turns between them."""
        frames = Frame(kind=FrameKind.STDOUT, payload=b"x").encode() * 20_000
        frames += Frame(kind=FrameKind.END, payload=bytes(2 + KEY_BYTES)).encode()
        near, far = socket.socketpair()
        near.setblocking(False)
        # As the Engine multiplexes; all of it is there before the first byte is read.
        far.sendall(struct.pack(">BxxxL", 1, len(frames)) + frames)
        sandbox = await bench.prepare()
        sandbox._container.wire.close()  # type: ignore[attr-defined]
        sandbox._container = replace(sandbox._container, wire=Wire(near))  # type: ignore[attr-defined]
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        harvest = Harvest(
            output_bytes=MIB, collect=Collect.OUTPUTS, workspace=frozenset(), key=bytes(KEY_BYTES)
        )
        stop = await sandbox._listen(harvest)  # type: ignore[attr-defined]
        counting.cancel()
        far.close()
        await sandbox.discard()
        assert (stop, len(harvest.stdout.data)) == (Stop.ENDED, 20_000)
        assert turns > 50


class TestForging:
    """What a tool could add to its stream."""

    async def test_frames_in_the_stream_are_output(self, bench: Bench) -> None:
        """A faked end in the middle of the output ends nothing: what follows is output, too."""
        report, recorder = await run(bench, FRAMES_LATER)
        assert (report.cause, report.exit_code) == (Cause.EXITED, 7)
        assert recorder.kept(Source.STDOUT).startswith(b"before")
        assert recorder.kept(Source.STDOUT).endswith(b"after")

    async def test_nothing_comes_after_the_end(self, bench: Bench) -> None:
        """A process that writes on when the tool has ended is dead before the sink's end."""
        report, recorder = await run(bench, STRAGGLER)
        assert (report.cause, recorder.is_ended) == (Cause.EXITED, True)
        assert report.stdout.data == b"".join(data for _, data in recorder.pieces)
        assert set(report.stdout.data.split()) == {b"late"}


class TestUsage:
    """What is counted, by whom."""

    async def test_most_processes_at_one_time(self, bench: Bench) -> None:
        """The peak of processes is the kernel's, and stays when they have ended."""
        many, one = await bench.run(MANY, pids=64), await bench.run("1", pids=64)
        assert one.usage.max_pids is not None
        assert many.usage.max_pids is not None
        assert one.usage.max_pids < 20 < many.usage.max_pids < 32
        assert "usage.max_pids" not in dict(many.sources)

    async def test_bytes_of_files(self, bench: Bench) -> None:
        """Files that come back are counted by the broker, whatever the tool says of them."""
        code = "for n in range(3): open(f'/out/{n}', 'w').write('x' * 100)"
        report = await bench.run(code)
        assert report.usage.files_bytes == 300
        assert dict(report.sources)["usage.files_bytes"] == "broker"

    async def test_nothing_that_a_tool_says_is_counted(self, bench: Bench) -> None:
        """A tool that prints a usage of its own changes no number."""
        claim = json.dumps({"usage": {"cpu_ms": 0, "max_pids": 1}, "exit_code": 0})
        report = await bench.run(f"print({claim!r}); raise SystemExit(4)")
        assert (report.exit_code, report.usage.cpu_ms != 0) == (4, True)
