"""Note in the broker's process when a run passes its steps."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from broker.adapters.docker_engine.departure import Departure
from broker.adapters.docker_engine.sandbox import DockerSandbox
from broker.adapters.docker_engine.wire import Wire
from broker.core.frames import Frame, FrameKind

_FRAMES = {
    FrameKind.BEGIN: "launcher answers",
    FrameKind.STDOUT: "first output",
    FrameKind.END: "launcher's end",
}
# What returns at a step, by the names that the code has for it.
_RETURNS: tuple[tuple[type, str, str], ...] = (
    (DockerSandbox, "_close_outlet", "nothing goes out"),
    (Departure, "_spent", "usage counted"),
    (Departure, "_is_deserted", "kernel: all dead"),
    (Departure, "_exit", "Engine: ended"),
    (DockerSandbox, "run", "run over"),
)
_PASSED: list[tuple[str, float]] = []


def watch() -> None:
    """Note the steps of every sandbox from now on."""
    _watch_frames()
    for owner, method, step in _RETURNS:
        _watch_return(owner, method, step)


def write(file: Path) -> None:
    """Write what was passed when, in seconds of the wall clock."""
    file.write_text(json.dumps(_PASSED))


def read(file: Path, calls: Sequence[tuple[float, float]]) -> dict[str, list[float]]:
    """Give the milliseconds from the begin of a call to each step within it, by step.

    Args:
        calls: From when until when each went, one after the other; seconds of the wall clock.
    """
    passed: list[tuple[str, float]] = json.loads(file.read_text())
    found: dict[str, list[float]] = {}
    for begun_s, ended_s in calls:
        first: dict[str, float] = {}
        for step, at_s in passed:
            if begun_s <= at_s <= ended_s:
                first.setdefault(step, (at_s - begun_s) * 1000)
        for step, at_ms in first.items():
            found.setdefault(step, []).append(at_ms)
    return found


def _note(step: str) -> None:
    _PASSED.append((step, time.time()))


def _watch_frames() -> None:
    receive, send = Wire.receive, Wire.send

    async def receive_noted(wire: Wire) -> list[Frame] | None:
        frames = await receive(wire)
        for frame in frames or ():
            if frame.kind in _FRAMES:
                _note(_FRAMES[frame.kind])
        return frames

    async def send_noted(wire: Wire, data: bytes) -> None:
        _note("job is sent")
        await send(wire, data)

    Wire.receive = receive_noted  # type: ignore[method-assign]
    Wire.send = send_noted  # type: ignore[method-assign]


def _watch_return(owner: type, method: str, step: str) -> None:
    inner = getattr(owner, method)

    async def noted(of: object, *args: object, **more: object) -> object:
        answer = await inner(of, *args, **more)
        _note(step)
        return answer

    setattr(owner, method, noted)
