"""The rows of tests/sandbox/test_containment.py in gVisor, where they differ and why."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.sandbox import test_containment as containment
from tests.sandbox.bench import Bench, Place
from tests.sandbox.test_containment import FILTER, PROBES, host

__all__ = ["host"]

# What gVisor lets through, because nothing can be done with it: the rows beside them hold.
OF_NO_USE = {"make_device": "host_device", "launcher_fds_list": "launcher_fd_targets"}

# What no setting of a container opens, since the sentry has no such thing or gives it to nobody: a
# twin that got out would be news.
HELD_BY_SENTRY = {
    "add_key", "kcmp", "move_pages", "pidfd_getfd", "request_key", "socket_raw", "socket_raw6",
    "socket_packet", "setuid_program", "others_processes", "read_launcher_memory", "host_device",
}  # fmt: skip


class TestContainment(containment.TestContainment):
    """The rows of the sandbox, on runsc."""

    rows = containment.TestContainment.rows - OF_NO_USE.keys()
    held_by_runtime = frozenset(HELD_BY_SENTRY)

    @pytest.mark.parametrize(
        "settings",
        [getattr(containment, name) for name in ("FILTER_AND_CAPABILITIES", "FILTER",
         "WRITABLE_ROOT", "HOST_PROCESSES", "PLAIN", "MOUNTED", "KERNEL_LOG")],
        ids=["filter-and-capabilities", "filter", "writable-root", "host-processes", "plain",
             "mounted", "kernel-log"],
    )  # fmt: skip
    async def test_every_probe_gets_out_where_its_set_is_missing(
        self,
        place: Place,
        images: Mapping[str, str],
        host: containment.Host,
        settings: dict[str, Any],
    ) -> None:
        """The same probes get out where their set is missing; the sentry itself holds the rest.

        Twins with a network are for runc: `--network=none` gives them none here either.
        """
        await super().test_every_probe_gets_out_where_its_set_is_missing(
            place, images, host, settings
        )

    async def test_what_gets_through_is_of_no_use(
        self, bench: Bench, host: containment.Host
    ) -> None:
        """Only the sentry's own devices can be made; the launcher's descriptors lead nowhere."""
        names = [*OF_NO_USE, *OF_NO_USE.values()]
        report = await bench.run(PROBES, stdin=json.dumps({**host.arguments, "names": names}))
        kinds = {name: kind for name, (kind, _) in json.loads(report.stdout.data).items()}
        assert kinds == {name: "out" if name in OF_NO_USE else "held" for name in names}

    async def test_filter_is_not_applied_without_the_flag(
        self, bench: Bench, place: Place, host: containment.Host
    ) -> None:
        """The twin of `--oci-seccomp`: without it the filter's rows get out, as the facts say."""
        names = [name for name, missing in containment.ROWS.items() if missing is FILTER]
        sandbox = await bench.prepare(runtime="runsc-unfiltered")
        facts = sandbox.enforced.facts
        await sandbox.discard()
        stdin = json.dumps({**host.arguments, "names": names})
        report = await bench.run(PROBES, stdin=stdin, runtime="runsc-unfiltered")
        kinds = {name: kind for name, (kind, _) in json.loads(report.stdout.data).items()}
        held = {name for name, kind in kinds.items() if kind == "held"}
        assert (held, facts["ignored_by_runtime"]) == (
            HELD_BY_SENTRY & {*names},
            ["seccomp", "tmpfs nodev", "tmpfs nr_inodes"],
        )
