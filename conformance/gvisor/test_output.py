"""Output on its way, and who says what of a run, in gVisor."""

import docker
import pytest

from broker.core.call import Cause
from tests.sandbox import test_output, test_truth
from tests.sandbox.bench import MIB, Bench

OF_MEMORY = ("oom", "oom of a child")


class TestStreaming(test_output.TestStreaming):
    """Output on its way, on runsc."""


class TestFlood(test_output.TestFlood):
    """Many writes, each of nearly nothing, on runsc."""

    # A pipe takes longer to fill there than the launcher takes to read it.
    most_pieces = 1 << 16


class TestStreamForging(test_output.TestForging):
    """What a tool could add to its stream, on runsc."""


class TestUsage(test_output.TestUsage):
    """What is counted, by whom, on runsc."""

    async def test_most_processes_at_one_time(self, bench: Bench) -> None:
        """The kernel counts the sentry's threads: more processes inside are more of those."""
        many = await bench.run(test_output.MANY, pids=64, memory_bytes=512 * MIB)
        one = await bench.run("1", pids=64, memory_bytes=512 * MIB)
        assert one.usage.max_pids is not None
        assert many.usage.max_pids is not None
        assert one.usage.max_pids < many.usage.max_pids


class TestCauses(test_truth.TestCauses):
    """How a run ended, from outside, on runsc."""

    @pytest.mark.parametrize("name", sorted(test_truth.ENDS.keys() - OF_MEMORY))
    async def test_each_has_its_source(
        self,
        bench: Bench,
        client: docker.APIClient,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Cause, exit code, limits and usage are what was seen outside, and say by whom: the host's
        kernel does not count the tool's processes, so the Engine is always waited for.
        """
        run, (*end, said_by) = test_truth.ENDS[name]
        expected = (*end, "engine" if said_by == "launcher" else said_by)
        monkeypatch.setitem(test_truth.ENDS, name, (run, expected))
        await super().test_each_has_its_source(bench, client, name)

    @pytest.mark.parametrize("name", OF_MEMORY)
    async def test_memory_ends_all_of_it(
        self, bench: Bench, client: docker.APIClient, name: str
    ) -> None:
        """The sentry is one process to the kernel: the Engine tells its end, nobody its usage."""
        report = await test_truth.ENDS[name][0](bench, client)
        sources = dict(report.sources)
        assert (report.cause, report.exit_code, report.limits_hit, sources["cause"]) == (
            Cause.MEMORY,
            137,
            ("memory",),
            "engine",
        )
        assert (report.usage.max_memory_bytes, sources["usage.max_memory_bytes"]) == (
            None,
            "nobody",
        )
