"""Run the program of the benchmarks by the Docker SDK alone, held in as far as it can be."""

from typing import Any

import docker

from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Tool
from broker.shipped import tools_dir

CODE = "print(6 * 7)"
PRINTED = "42\n"
_COMMAND = ["/usr/bin/python3", "-c", CODE]


def python_run() -> Tool:
    """Give the tool that every benchmark of a run calls."""
    return next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "python_run")


def image_of(client: docker.DockerClient, tool: Tool) -> str:
    """Give the id of a tool's image."""
    return str(client.images.get(f"toolwarrant/{tool.image}:{tool.version}").id)


def run(client: docker.DockerClient, image: str, tool: Tool, runtime: str = "runc") -> str:
    """Run the program by `containers.run`; give what it printed."""
    printed = client.containers.run(image, _COMMAND, remove=True, **hardening(tool, runtime))
    return bytes(printed).decode()


def loop_once(client: docker.DockerClient, image: str, tool: Tool) -> None:
    """Create, start, wait for and remove one container, its output left unread."""
    container = client.containers.create(image, _COMMAND, **hardening(tool, "runc"))
    container.start()
    ended = container.wait()
    container.remove()
    assert ended["StatusCode"] == 0, ended


def hardening(tool: Tool, runtime: str) -> dict[str, Any]:
    """Give the options that come closest to how the broker makes a container of this tool."""
    limits = tool.limits
    seccomp = (tools_dir() / "seccomp.json").read_text()
    guard = f"rw,noexec,nosuid,nodev,size={limits.tmp_bytes}"
    return {
        "runtime": runtime,
        "user": "65534:65534",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", f"seccomp={seccomp}"],
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,
        "nano_cpus": limits.cpu_millicores * 1_000_000,
        "pids_limit": limits.pids,
        "ipc_mode": "none",
        "tmpfs": dict.fromkeys(("/tmp", "/dev/shm", "/workspace", "/in", "/out"), guard),
    }
