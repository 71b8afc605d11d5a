"""What a tool must not reach, each with the twin that shows what holds it."""

import ipaddress
import json
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from broker.core.catalog import Tool
from tests.broker_process import DOCKER_URL
from tests.sandbox.bench import Bench, Place, job, profile_of

PROBES = (Path(__file__).parent / "probes.py").read_text(encoding="utf-8")
EVERY_CAPABILITY = [
    "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_CHROOT", "SYS_BOOT", "SYS_PACCT",
    "SYS_TTY_CONFIG", "SYSLOG", "NET_RAW", "NET_ADMIN", "DAC_READ_SEARCH", "MKNOD",
    "SETUID", "SETGID", "CHOWN", "SYS_NICE",
]  # fmt: skip

# The sets that hold: what a twin is made with so that exactly they are missing.
FILTER_AND_CAPABILITIES = {
    "user": "0",
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "cap_add": EVERY_CAPABILITY,
}
FILTER = {"user": "65534", "security_opt": ["seccomp=unconfined", "apparmor=unconfined"]}
BRIDGE = {"network_mode": "bridge"}
HOST_NETWORK = {"network_mode": "host"}
WRITABLE_ROOT = {"user": "0"}
HOST_PROCESSES = {"pid_mode": "host"}
PLAIN = {"user": "65534"}
MOUNTED = {"user": "0"}
KERNEL_LOG = {
    "user": "0",
    "cap_add": ["MKNOD", "SYSLOG"],
    "device_cgroup_rules": ["c 1:11 r"],
}

ROWS = {
    **dict.fromkeys(
        [
            "mount", "mount_new_api", "mount_open_tree", "umount", "pivot_root", "chroot",
            "module_init", "module_finit", "module_delete", "unshare_mount", "unshare_net", "bpf",
            "perf_event_open", "open_by_handle_at", "acct", "swapoff", "quotactl", "syslog",
            "sethostname", "vhangup", "fanotify", "socket_raw", "socket_raw6", "socket_packet",
            "make_device", "become_root", "change_owner", "capabilities_held", "setns_own",
            "socket_packet_old", "userfaultfd", "socket_xdp", "socket_can", "gain_capability",
        ],
        FILTER_AND_CAPABILITIES,
    ),
    **dict.fromkeys(
        [
            "unshare_user", "clone_new_user", "clone3", "keyctl", "add_key", "request_key",
            "io_uring", "name_to_handle_at", "process_vm_readv", "process_vm_writev", "kcmp",
            "personality", "shmget", "move_pages", "ptrace_attach", "pidfd_getfd",
            "launcher_limits", "socket_ping", "socket_sctp", "socket_netlink", "socket_vsock",
            "socket_alg", "socket_bluetooth", "socket_tipc",
        ],
        FILTER,
    ),
    **dict.fromkeys(
        ["net_any_address", "net_dns", "net_metadata", "net_private", "net_interfaces", "net_host"],
        BRIDGE,
    ),
    **dict.fromkeys(["net_host_loopback", "net_host_abstract_socket"], HOST_NETWORK),
    **dict.fromkeys(
        [
            "write_root", "write_etc", "write_launcher", "write_usr", "write_var", "write_dev",
            "write_run", "read_shadow", "setuid_program", "new_privileges_possible",
        ],
        WRITABLE_ROOT,
    ),
    **dict.fromkeys(["others_processes"], HOST_PROCESSES),
    **dict.fromkeys(
        [
            "read_launcher_environ", "read_launcher_memory", "read_launcher_maps",
            "launcher_stdio_open", "launcher_fds_list", "launcher_fd_targets", "launcher_cwd",
            "launcher_oom_score", "execute_from_tmp",
        ],
        PLAIN,
    ),
    **dict.fromkeys(["read_host_file", "engine_socket", "block_devices"], MOUNTED),
    **dict.fromkeys(["host_device"], KERNEL_LOG),
}  # fmt: skip

# Too dangerous to let through on a shared machine: the profile is read back instead.
ONLY_READ_BACK = {"kexec_load", "kexec_file_load", "reboot", "settimeofday", "clock_settime"}


@dataclass(frozen=True)
class Host:
    """What the test opened on the host for the probes to find."""

    arguments: Mapping[str, Any]
    file: Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A listener on every address, one on an abstract unix socket, a file."""
    client = docker.APIClient(DOCKER_URL)
    (subnet,) = (each["Subnet"] for each in client.inspect_network("bridge")["IPAM"]["Config"])
    client.close()
    gateway = next(ipaddress.ip_network(subnet).hosts())
    abstract = f"toolwarrant-{secrets.token_hex(8)}"
    file = tmp_path / "of-the-host"
    file.write_text("the host's")
    with socket.create_server(("0.0.0.0", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        arguments = {
            "host": str(gateway),
            "port": listener.getsockname()[1],
            "abstract": abstract,
            "host_file": str(file),
            "few": 4,
            "setuid_folder": "/tmp",
        }
        yield Host(arguments=arguments, file=file)


def outcomes_in_twin(
    place: Place, image: str, names: list[str], host: Host, settings: dict[str, Any]
) -> Any:
    """Run these probes with the set removed; one that moves the root for all of them goes last."""
    names = sorted(names, key=lambda name: name == "pivot_root")
    if settings is MOUNTED:
        settings = settings | {
            "volumes": {
                str(host.file.parent): {"bind": str(host.file.parent), "mode": "ro"},
                "/var/run/docker.sock": {"bind": "/var/run/docker.sock", "mode": "ro"},
            },
            "devices": ["/dev/null:/dev/mem0:r"],
        }
    said = place.twin(
        image,
        PROBES,
        environment={"ARGUMENTS": json.dumps({**host.arguments, "names": names})},
        **settings,
    )
    return json.loads(said.splitlines()[-1])


class TestContainment:
    """The rows of the sandbox that need no egress, secret or pool."""

    rows = frozenset(ROWS)
    held_by_runtime: frozenset[str] = frozenset()
    """Rows that the runtime holds by itself, so that no twin of them gets out."""

    async def test_no_probe_gets_out_of_a_sandbox(
        self,
        place: Place,
        bench: Bench,
        host: Host,
        record_property: Callable[[str, object], None],
    ) -> None:
        """Every probe is held in a sandbox made as for a tool."""
        stdin = json.dumps({**host.arguments, "names": sorted(self.rows)})
        report = await bench.run(PROBES, stdin=stdin, timeout_s=60)
        outcomes = json.loads(report.stdout.data)
        out = {name: said for name, (kind, said) in outcomes.items() if kind != "held"}
        record_property(
            "summary",
            f"containment: {len(outcomes)} probes ran on {place.runtime}, {len(out)} got out",
        )
        assert (sorted(outcomes), out) == (sorted(self.rows), {})

    @pytest.mark.parametrize("name", ["pdf_text", "text_search"])
    async def test_no_probe_gets_out_beside_debian_packages(
        self,
        place: Place,
        bench: Bench,
        host: Host,
        images: Mapping[str, str],
        tools: Mapping[str, Tool],
        name: str,
    ) -> None:
        """Nor from the image of a tool with packages of its own, under that tool's limits."""
        probes = ("/usr/bin/python3", "-I", "-B", "-c", PROBES)
        profile = profile_of(tools[name], images, runtime=place.runtime, command=probes)
        stdin = json.dumps({**host.arguments, "names": sorted(self.rows)}).encode()
        sandbox = await bench.engine.prepare(profile, slot=secrets.token_hex(4))
        try:
            report = await sandbox.run(replace(job("", timeout_s=60), arguments=stdin))
        finally:
            await sandbox.discard()
        outcomes = json.loads(report.stdout.data)
        out = {name: said for name, (kind, said) in outcomes.items() if kind != "held"}
        assert (sorted(outcomes), out) == (sorted(self.rows), {})

    @pytest.mark.parametrize(
        "settings",
        [FILTER_AND_CAPABILITIES, FILTER, BRIDGE, HOST_NETWORK, WRITABLE_ROOT, HOST_PROCESSES,
         PLAIN, MOUNTED, KERNEL_LOG],
        ids=["filter-and-capabilities", "filter", "bridge", "host-network", "writable-root",
             "host-processes", "plain", "mounted", "kernel-log"],
    )  # fmt: skip
    async def test_every_probe_gets_out_where_its_set_is_missing(
        self, place: Place, images: Mapping[str, str], host: Host, settings: dict[str, Any]
    ) -> None:
        """The same probes get out of a container that lacks the set that holds them."""
        names = [name for name, missing in ROWS.items() if missing is settings]
        outcomes = outcomes_in_twin(place, images["python_run"], names, host, settings)
        held = {name: said for name, (kind, said) in outcomes.items() if kind != "out"}
        assert (sorted(outcomes), held.keys()) == (sorted(names), self.held_by_runtime & {*names})

    async def test_what_is_too_dangerous_to_try_is_not_on_the_list(self, seccomp: str) -> None:
        """The profile allows none of the calls that would harm the machine itself."""
        allowed = {
            name
            for rule in json.loads(seccomp)["syscalls"]
            if rule["action"] == "SCMP_ACT_ALLOW"
            for name in rule["names"]
        }
        assert allowed & ONLY_READ_BACK == set()
