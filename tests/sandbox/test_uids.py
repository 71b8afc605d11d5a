"""Who a container runs as: somebody that no other is, as the host's kernel counts by user."""

import asyncio

import pytest

from broker.adapters.docker_engine.uids import Uids
from broker.core.call import Cause
from broker.errors import SandboxError
from tests.sandbox.bench import Bench, job
from tests.sandbox.test_output import Recorder

# Each takes all that the user may have, says so, and holds it to the end of its time.
INOTIFY = """
import ctypes, time
libc = ctypes.CDLL(None)
while libc.inotify_init() >= 0:
    pass
print("taken")
time.sleep(600)
"""
SIGNALS = """
import ctypes, os, signal, time
libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
info = (ctypes.c_int * 32)()
info[2] = -1
while libc.syscall(129, os.getpid(), 40, info) >= 0:
    pass
print("taken")
time.sleep(600)
"""
PIPES = """
import fcntl, os, time
kept = []
for _ in range(80):
    kept.append(os.pipe())
    try:
        fcntl.fcntl(kept[-1][1], fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass
print("taken")
time.sleep(600)
"""
WHO = """
import os
print(f"{os.getuid()}:{os.getgid()}")
"""
ASK_INOTIFY = """
import ctypes
print(ctypes.CDLL(None).inotify_init() >= 0)
"""
ASK_TIMER = """
import ctypes
print(ctypes.CDLL(None).timer_create(1, None, ctypes.byref(ctypes.c_void_p())) == 0)
"""
ASK_PIPE = """
import fcntl
print(fcntl.fcntl(1, fcntl.F_GETPIPE_SZ))
"""


@pytest.mark.parametrize(
    ("take", "ask"),
    [(INOTIFY, ASK_INOTIFY), (SIGNALS, ASK_TIMER), (PIPES, ASK_PIPE)],
    ids=["inotify", "signals", "pipes"],
)
async def test_one_container_takes_nothing_from_another(bench: Bench, take: str, ask: str) -> None:
    """What a tool uses up of its user's share of the kernel is missing in no other container."""
    alone = (await bench.run(ask)).stdout.data
    taker, recorder = await bench.prepare(), Recorder(1 << 20)
    taking = asyncio.create_task(taker.run(job(take, timeout_s=60), recorder))
    await recorder.came.wait()
    beside = (await bench.run(ask)).stdout.data
    await taker.kill(Cause.CANCELLED)
    await taking
    await taker.discard()
    assert beside == alone


async def test_each_runs_as_somebody_else(bench: Bench) -> None:
    """User and group inside are those of the facts, in every container others."""
    sandboxes = [await bench.prepare() for _ in range(3)]
    seen = []
    for sandbox in sandboxes:
        report = await sandbox.run(job(WHO))
        seen.append(report.stdout.data.decode().strip())
        await sandbox.discard()
    assert seen == [sandbox.enforced.facts["user"] for sandbox in sandboxes]
    assert len(set(seen)) == 3


class TestUids:
    """Which user id comes next."""

    def test_comes_again_after_all_others(self) -> None:
        """One that was given back at once is handed out when the whole range was."""
        uids, handed_out = Uids(range(1000, 1005)), []
        for _ in range(10):
            handed_out.append(uids.take("slot"))
            uids.give_back("slot")
        assert sorted(handed_out[:5]) == [1000, 1001, 1002, 1003, 1004]
        assert handed_out[5:] == handed_out[:5]

    def test_is_nobody_elses(self) -> None:
        """Those that live keep theirs, however often the range is gone through."""
        uids = Uids(range(1000, 1004))
        living = {uids.take("a"), uids.take("b")}
        for _ in range(9):
            assert uids.take("c") not in living
            uids.give_back("c")

    def test_ends_with_the_range(self) -> None:
        """Where each is some container's, no container is made."""
        uids = Uids(range(1000, 1002))
        uids.take("a")
        uids.take("b")
        with pytest.raises(SandboxError, match="uid_count"):
            uids.take("c")
