"""Output on its way, and who says what of a run, in gVisor."""

import docker
import pytest

from broker.core.call import Cause
from tests.sandbox import test_output, test_truth
from tests.sandbox.bench import MIB, Bench, job

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
        self, bench: Bench, client: docker.APIClient, name: str
    ) -> None:
        """Cause, exit code, limits and usage are what was seen outside, and say by whom."""
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


class TestLastWord(test_truth.TestLastWord):
    """The launcher's word on an exit, on runsc: the kernel cannot count what is the sentry's."""

    async def test_what_the_tool_left_running_is_dead_at_the_end(self, bench: Bench) -> None:
        """So the word stands when the kernel says that the sentry is dead, with all it had."""
        sandbox = await bench.prepare(pids=64, memory_bytes=512 * MIB)
        report = await sandbox.run(job(test_truth.DAEMONS))
        left = sandbox._container.cgroup.is_empty()  # type: ignore[attr-defined]
        await sandbox.discard()
        assert (report.stdout.data, dict(report.sources)["cause"]) == (b"20 left\n", "launcher")
        assert left

    async def test_is_the_engines_where_the_kernel_is_not_asked(self, bench: Bench) -> None:
        """Of a sentry that cannot be seen from here nobody but the Engine knows that it is dead."""
        sandbox = await bench.prepare()
        seen = sandbox._container  # type: ignore[attr-defined]
        seen.first_process.close()
        report = await sandbox.run(job("print(1)"))
        await sandbox.discard()
        assert (report.cause, dict(report.sources)["cause"]) == (Cause.EXITED, "engine")
