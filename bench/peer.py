"""Compare a governed run with the published library `llm-sandbox`, on the same Engine and image."""

import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from bench import bare
from bench.figure import Figure, quantiles
from tests.broker_process import DOCKER_URL, Served

_LOCK = Path(__file__).with_name("peer.lock")
_SESSION = Path(__file__).with_name("peer_session.py")
_CACHE = Path(os.environ.get("TOOLWARRANT_CACHE", Path.home() / ".cache" / "toolwarrant"))
# It copies the program into the container and runs `python` there as root.
_HARDENING = {
    "command": ["sleep", "infinity"],
    "init": True,
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
_PAUSE_S = 0.5
_WARM_UP = 2


def measure(served: Served, *, rounds: int) -> list[Figure]:
    """Measure in rounds, each with a run of every kind, at leisure.

    Args:
        served: Its pool is on.
    """
    client = docker.DockerClient(DOCKER_URL)
    tool = bare.python_run()
    image = _with_python(client, bare.image_of(client, tool))
    limits = {"mem_limit": tool.limits.memory_bytes, "pids_limit": tool.limits.pids}
    agent = served.client("agent")
    try:
        with _session(image, {**_HARDENING, **limits}) as run:
            kinds: dict[str, Callable[[], str]] = {
                "broker": lambda: agent.call("python_run", {"code": bare.CODE}).result.stdout_text,
                "fresh session": lambda: run("fresh"),
                "session used again": lambda: run("again"),
            }
            taken_ms = _in_turns(kinds, rounds)
    finally:
        client.images.remove(image, force=True)
        client.close()
    return [_figure(kind, taken_ms) for kind in ("fresh session", "session used again")]


def _figure(kind: str, taken_ms: dict[str, list[float]]) -> Figure:
    return Figure(
        name=f"python_run with a pool / llm-sandbox, {kind}, p50",
        unit="ms",
        ours=statistics.median(taken_ms["broker"]),
        theirs=statistics.median(taken_ms[kind]),
        bound=None,
        conditions=f"{_version()}, {len(taken_ms[kind])} rounds, a run every {_PAUSE_S} s; "
        f"{kind}: {quantiles(taken_ms[kind])}; broker: {quantiles(taken_ms['broker'])}",
        samples={kind: taken_ms[kind], "the broker": taken_ms["broker"]},
    )


def _in_turns(kinds: dict[str, Callable[[], str]], rounds: int) -> dict[str, list[float]]:
    taken_ms: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    for number in range(_WARM_UP + rounds):
        order = order[1:] + order[:1]
        for kind in order:
            time.sleep(_PAUSE_S)
            begun_s = time.perf_counter()
            printed = kinds[kind]()
            if number >= _WARM_UP:
                taken_ms[kind].append((time.perf_counter() - begun_s) * 1000)
            assert printed == bare.PRINTED, printed
    return taken_ms


@contextmanager
def _session(image: str, hardening: dict[str, object]) -> Iterator[Callable[[str], str]]:
    argv = [str(_environment()), str(_SESSION), DOCKER_URL, image, bare.CODE, json.dumps(hardening)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        ask, answers = peer.stdin, peer.stdout

        def run(word: str) -> str:
            ask.write(f"{word}\n")
            ask.flush()
            return str(json.loads(answers.readline()))

        try:
            yield run
        finally:
            # It removes its container when there is nothing more to answer.
            ask.close()
            peer.wait(60)


def _with_python(client: docker.DockerClient, image: str) -> str:
    """Make the same image with the name of the interpreter that the library calls."""
    dockerfile = f"FROM {image}\nRUN ln -s python3 /usr/bin/python\n"
    made, _ = client.images.build(fileobj=io.BytesIO(dockerfile.encode()), network_mode="none")
    return str(made.id)


def _environment() -> Path:
    """Give the interpreter of the library's own environment, made once for each lock."""
    digest = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    place = _CACHE / "bench" / f"peer-{digest}"
    python = place / "bin" / "python"
    if not (place / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(_LOCK)], check=True
        )
        (place / "made").touch()
    return python


def _version() -> str:
    names = (line.split(" ")[0] for line in _LOCK.read_text().splitlines())
    return next(name for name in names if name.startswith("llm-sandbox=="))
