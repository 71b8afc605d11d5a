"""Say what a container is created with, then hold the Engine to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from broker.adapters.docker_engine.runtimes import RUNC, Kernel, Runtime, filters
from broker.adapters.docker_engine.sentry import Sentry
from broker.core.canonical import JsonObject
from broker.core.ids import Sha256, sha256_hex
from broker.core.sandbox import Enforced, Profile
from broker.errors import SandboxError

INSTALLATION_LABEL = "org.toolwarrant.installation"
BOOT_LABEL = "org.toolwarrant.boot"
SLOT_LABEL = "org.toolwarrant.slot"

EGRESS_TARGET = "/egress"
"""Where a container finds its sockets; short, as an address of one has room for 107 bytes."""

_LAUNCHER = ("/usr/bin/python3", "-I", "-S", "-B", "/opt/toolwarrant/launcher.py")
_MAX_INODES = 16_384
_MAX_OPEN_FILES = 1024
# Host threads that gVisor needs for each of the tool's, and for itself. At most 2.4 and 40 were
# seen on two cores; it has more where there are more.
_HOST_PER_TOOL = 4
_HOST_BASE = 128
# What it takes in its options for a tmpfs, and does not apply; devices are the sentry's own there.
_IGNORED_BY_GVISOR = ("tmpfs nodev", "tmpfs nr_inodes")
_SECCOMP = "seccomp="
_NPROC = "nproc"
_MASKED = {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"}
_READ_ONLY = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

Inspection = Mapping[str, Any]
"""What the Engine says of a container: foreign JSON."""


def container_config(
    profile: Profile,
    *,
    uid: int,
    seccomp: str,
    labels: Mapping[str, str],
    runtime: Runtime = RUNC,
    sockets: Path | None = None,
) -> dict[str, Any]:
    """Give the body of the Engine's create request for a profile.

    Args:
        uid: Its user and its group: no other container's, owner of nothing outside.
        seccomp: The profile's JSON text, sent inline.
        runtime: What the Engine has under the profile's runtime.
        sockets: Folder of this container's own sockets; None where the profile has no egress.
    """
    return {
        "Image": profile.image,
        "Entrypoint": _entrypoint(profile),
        "Cmd": [],
        "User": _user(uid),
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "NetworkDisabled": True,
        "OpenStdin": True,
        # When the broker dies its end of the stream closes, and the launcher ends everything.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": host_config(
            profile, uid=uid, seccomp=seccomp, runtime=runtime, sockets=sockets
        ),
    }


def host_config(
    profile: Profile,
    *,
    uid: int,
    seccomp: str,
    runtime: Runtime = RUNC,
    sockets: Path | None = None,
) -> dict[str, Any]:
    """Give the part of the create request that holds a sandbox in."""
    if bool(profile.egress) != (sockets is not None):
        raise ValueError("a folder of sockets comes with egress, and with nothing else")
    is_gvisor = runtime.kernel is Kernel.GVISOR
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges", f"{_SECCOMP}{seccomp}"],
        "Memory": profile.memory_bytes,
        "MemorySwap": profile.memory_bytes,
        "NanoCpus": profile.cpu_millicores * 1_000_000,
        "PidsLimit": _host_pids(profile.pids) if is_gvisor else profile.pids,
        "OomKillDisable": False,
        "Tmpfs": _tmpfs(profile.tmp_bytes, uid),
        "Runtime": profile.runtime,
        "IpcMode": "none",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "Binds": [],
        "Mounts": [] if sockets is None else [_egress_mount(sockets)],
        "VolumesFrom": [],
        "Devices": [],
        "DeviceRequests": [],
        "DeviceCgroupRules": [],
        "GroupAdd": [],
        "Links": [],
        "ExtraHosts": [],
        "PortBindings": {},
        "PublishAllPorts": False,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "none", "Config": {}},
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": _MAX_OPEN_FILES, "Hard": _MAX_OPEN_FILES},
            # The cgroup counts the sentry's threads, and a refused one ends the sandbox. gVisor
            # counts the tool's itself; the host's kernel would count all containers of this uid.
            *([{"Name": _NPROC, "Soft": profile.pids, "Hard": profile.pids}] if is_gvisor else []),
        ],
    }


def differences(
    profile: Profile,
    inspection: Inspection,
    *,
    uid: int,
    seccomp: str,
    labels: Mapping[str, str],
    runtime: Runtime = RUNC,
    sockets: Path | None = None,
) -> list[str]:
    """List what the started container is, where that is not what was demanded."""
    config, host = inspection["Config"], inspection["HostConfig"]
    found = [
        f"{name} is {_short(host.get(name))}, not {_short(wanted)}"
        for name, wanted in host_config(
            profile, uid=uid, seccomp=seccomp, runtime=runtime, sockets=sockets
        ).items()
        if not _same(host.get(name), wanted)
    ]
    networks = set((inspection["NetworkSettings"].get("Networks") or {}).keys())
    checks = {
        "State.Running": inspection["State"]["Running"] is True,
        "Image": inspection["Image"] == profile.image,
        "Config.User": config["User"] == _user(uid),
        "Config.Entrypoint": config["Entrypoint"] == _entrypoint(profile),
        "Config.Cmd": not config["Cmd"],
        "Config.Tty": config["Tty"] is False,
        "Config.Labels": labels.items() <= config["Labels"].items(),
        # A VOLUME of the image would be a writable mount beside the ones demanded.
        "Mounts": [_shape(mount) for mount in inspection["Mounts"]]
        == ([] if sockets is None else [_mounted(sockets)]),
        "Networks": networks <= {"none"},
        "MaskedPaths": set(host.get("MaskedPaths") or ()) >= _MASKED,
        "ReadonlyPaths": set(host.get("ReadonlyPaths") or ()) >= _READ_ONLY,
    }
    return found + [f"{name} is not as demanded" for name, good in checks.items() if not good]


def enforced(
    profile: Profile,
    inspection: Inspection,
    *,
    uid: int,
    seccomp: str,
    labels: Mapping[str, str],
    kernel_confirmed: bool,
    runtime: Runtime = RUNC,
    sockets: Path | None = None,
    sentry: Sentry | None = None,
) -> Enforced:
    """Give a container's settings as the Engine reads them back.

    Args:
        kernel_confirmed: Whether the host's /proc showed the same of the first process.
        sentry: What the host's /proc showed of gVisor's, where it can be seen.

    Raises:
        SandboxError: Something is not as demanded.
    """
    faults = differences(
        profile,
        inspection,
        uid=uid,
        seccomp=seccomp,
        labels=labels,
        runtime=runtime,
        sockets=sockets,
    )
    if faults:
        raise SandboxError(
            "the Docker Engine made another container than was demanded: " + "; ".join(faults),
            reason="SANDBOX_NOT_AS_DEMANDED",
        )
    host = inspection["HostConfig"]
    digest = _seccomp_sha256(host["SecurityOpt"])
    facts: JsonObject = {
        "runtime": host["Runtime"],
        "network": host["NetworkMode"],
        "read_only_root": host["ReadonlyRootfs"],
        "cap_drop": sorted(host["CapDrop"]),
        "no_new_privileges": "no-new-privileges" in host["SecurityOpt"],
        "user": inspection["Config"]["User"],
        "memory_bytes": host["Memory"],
        "memory_swap_bytes": host["MemorySwap"],
        "cpu_millicores": host["NanoCpus"] // 1_000_000,
        "pids": host["PidsLimit"],
        "seccomp_sha256": digest,
        "ipc": host["IpcMode"],
        "mounts": _mounts(inspection),
        "egress_destinations": len(profile.egress.destinations) if inspection["Mounts"] else 0,
        "image": inspection["Image"],
        "kernel_confirmed": kernel_confirmed,
    }
    if runtime.kernel is Kernel.GVISOR:
        facts = {**facts, **_gvisor_facts(host, runtime, sentry)}
    return Enforced(container_id=cast("str", inspection["Id"]), seccomp_sha256=digest, facts=facts)


def _mounts(inspection: Inspection) -> list[str]:
    return [
        *(
            f"tmpfs {path} {options}"
            for path, options in sorted(inspection["HostConfig"]["Tmpfs"].items())
        ),
        # Which folder of the host it is, a receipt's reader has no use for.
        *(
            f"{mount['Type']} {mount['Destination']} {'rw' if mount['RW'] else 'ro'}"
            for mount in inspection["Mounts"]
        ),
    ]


def _user(uid: int) -> str:
    return f"{uid}:{uid}"


def _entrypoint(profile: Profile) -> list[str]:
    return [*_LAUNCHER, "ahead" if profile.starts_ahead else "by-job", *profile.command]


def _host_pids(pids: int) -> int:
    return pids * _HOST_PER_TOOL + _HOST_BASE


def _gvisor_facts(host: Mapping[str, Any], runtime: Runtime, sentry: Sentry | None) -> JsonObject:
    """Say what is so with gVisor alone: two counts of processes, what it does not apply."""
    (nproc,) = (each["Hard"] for each in host["Ulimits"] if each["Name"] == _NPROC)
    # As it was started, where that can be seen: the Engine's entry may have changed since.
    arguments = sentry.arguments if sentry else runtime.arguments
    ignored = [*_IGNORED_BY_GVISOR] if filters(arguments) else ["seccomp", *_IGNORED_BY_GVISOR]
    return {
        "kernel": runtime.kernel.value,
        "pids": nproc,
        "host_pids": host["PidsLimit"],
        "sentry_confirmed": sentry is not None,
        "ignored_by_runtime": ignored,
    }


def _tmpfs(size_bytes: int, uid: int) -> dict[str, str]:
    guard = f"rw,noexec,nosuid,nodev,size={size_bytes},nr_inodes={_MAX_INODES}"
    own = f"{guard},mode=0700,uid={uid},gid={uid}"
    return {
        "/tmp": f"{guard},mode=1777",  # noqa: S108 (the sandbox's own)
        "/dev/shm": f"{guard},mode=1777",  # noqa: S108
        "/workspace": own,
        "/in": own,
        "/out": own,
    }


def _egress_mount(sockets: Path) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(sockets),
        "Target": EGRESS_TARGET,
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _mounted(sockets: Path) -> tuple[object, ...]:
    return ("bind", str(sockets), EGRESS_TARGET, False, "rprivate")


def _shape(mount: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(mount.get(key) for key in ("Type", "Source", "Destination", "RW", "Propagation"))


def _same(found: object, wanted: object) -> bool:
    # Engines answer null, false or an empty value for what was sent empty.
    return found == wanted or (not found and not wanted)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _seccomp_sha256(options: list[str]) -> Sha256:
    (profile,) = (option for option in options if option.startswith(_SECCOMP))
    return sha256_hex(profile.removeprefix(_SECCOMP).encode())
