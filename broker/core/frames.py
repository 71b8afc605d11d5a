"""Speak the frames between the broker and the launcher inside a container.

A frame is one byte that names its kind, four bytes of length (big-endian), the payload. The
launcher keeps its own copy of this format, since it can import nothing of the broker.

To the launcher, in this order: `JOB`, then any number of `WORKSPACE` and `INPUT` files and the
one `ARGUMENTS`, each followed by its bytes in `DATA` frames, and of `SECRET`s (a variable, NUL, its
value), then `GO`; at the very end `LEAVE`. `JOB` brings a key that the tool never gets.
From the launcher: `HELLO`; `BEGIN` ahead of all that the tool gets of the job; `STDOUT` and
`STDERR` while the tool runs; then, when everything in the container is dead, files (`OUTPUT` and
`CHANGED` followed by their `DATA`, `DELETED` without) with `NOTE`s between them; then `END` with
the key, or `NOT_BEGUN` where the tool could not be started, with a `BEGIN` or without.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from broker.core.sandbox import Collect, Job

PROTOCOL = 4
"""Version of this format; the launcher's `HELLO` names the one that it speaks."""

MAX_PAYLOAD_BYTES = 1 << 16
"""Largest payload of one frame, either way."""

MAX_FILES = 1000
"""How many files a run may bring back."""

MAX_PATH_BYTES = 1024
"""Longest path of a file, either way."""

KEY_BYTES = 32
"""Length of the key that a job brings, and its end brings back."""

_HEADER = struct.Struct(">cI")
_JOB = struct.Struct(f">BQII{KEY_BYTES}s")
_SIZE = struct.Struct(">Q")
_END = struct.Struct(f">BB{KEY_BYTES}s")


class FrameError(ValueError):
    """The stream is not what a launcher sends."""


class FrameKind(Enum):
    """What a frame carries."""

    JOB = b"J"
    WORKSPACE = b"W"
    INPUT = b"I"
    ARGUMENTS = b"A"
    SECRET = b"S"
    DATA = b"D"
    GO = b"G"
    LEAVE = b"L"
    HELLO = b"H"
    BEGIN = b"B"
    STDOUT = b"O"
    STDERR = b"E"
    OUTPUT = b"o"
    CHANGED = b"c"
    DELETED = b"d"
    NOTE = b"N"
    END = b"Z"
    NOT_BEGUN = b"X"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame; its payload, which may be a secret, is not printed with it."""

    kind: FrameKind
    payload: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a payload beyond the cap."""
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise FrameError(f"a frame of {len(self.payload)} bytes is beyond {MAX_PAYLOAD_BYTES}")

    def encode(self) -> bytes:
        """Give the frame's bytes."""
        return _HEADER.pack(self.kind.value, len(self.payload)) + self.payload


class FrameReader:
    """Cut a stream of bytes into frames, however it arrives."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; give the frames that are complete now.

        Raises:
            FrameError: An unknown kind, or a length beyond the cap. The stream is of no use then.
        """
        self._pending += data
        frames = []
        start = 0
        while len(self._pending) - start >= _HEADER.size:
            letter, size = _HEADER.unpack_from(self._pending, start)
            kind = _kind(letter)
            if size > MAX_PAYLOAD_BYTES:
                raise FrameError(f"a frame of {size} bytes is beyond {MAX_PAYLOAD_BYTES}")
            end = start + _HEADER.size + size
            if len(self._pending) < end:
                break
            frames.append(Frame(kind=kind, payload=bytes(self._pending[start + 5 : end])))
            start = end
        del self._pending[:start]
        return frames

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are kept."""
        return len(self._pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """The path of a file with its size in bytes, ahead of its data."""

    path: str
    size_bytes: int

    def encode(self) -> bytes:
        """Give the payload of a frame that opens a file."""
        return _SIZE.pack(self.size_bytes) + self.path.encode()

    @classmethod
    def decode(cls, payload: bytes) -> "FileHead":
        """Read the payload of a frame that opens a file.

        Raises:
            FrameError: Too short, not UTF-8, or a path that leads anywhere but below its folder.
        """
        if len(payload) < _SIZE.size:
            raise FrameError("a file's frame is too short")
        try:
            path = payload[_SIZE.size :].decode()
        except UnicodeDecodeError as error:
            raise FrameError("a file's name is not UTF-8") from error
        if fault := path_fault(path):
            raise FrameError(f"a file's name {fault}")
        return cls(path=path, size_bytes=_SIZE.unpack_from(payload)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class EndWord:
    """How the tool's own process ended, in the launcher's word.

    Args:
        number: The exit code, or the signal where `signalled`.
        key: The job's, where it is the launcher that speaks.
    """

    signalled: bool
    number: int
    key: bytes = field(repr=False)

    @property
    def exit_code(self) -> int:
        """The exit code that the launcher itself leaves with."""
        return 128 + self.number if self.signalled else self.number

    @classmethod
    def decode(cls, payload: bytes) -> "EndWord":
        """Read the payload of an `END` frame.

        Raises:
            FrameError: It is not one.
        """
        if len(payload) != _END.size or payload[0] > 1:
            raise FrameError("the end's frame is malformed")
        signalled, number, key = _END.unpack(payload)
        return cls(signalled=bool(signalled), number=number, key=key)


def path_fault(path: str) -> str | None:
    """Say what is wrong with a path as the name of a file below a folder; None if nothing is."""
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty part, `.` or `..`"
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in path):
        return "has a control character or is not UTF-8"
    return None


def job_frames(job: Job, key: bytes) -> Iterator[bytes]:
    """Give the bytes of a job, piece by piece: everything up to `GO`.

    Args:
        key: Fresh random bytes that only this run's end may bring back.

    Raises:
        FrameError: A path is not one below its folder.
    """
    changes = job.collect is Collect.CHANGES
    head = _JOB.pack(changes, job.output_bytes, MAX_FILES, MAX_PATH_BYTES, key)
    yield Frame(kind=FrameKind.JOB, payload=head).encode()
    for path, data in job.workspace:
        yield from _file(FrameKind.WORKSPACE, path, data)
    for argument, data in job.inputs:
        yield from _file(FrameKind.INPUT, argument, data)
    yield from _file(FrameKind.ARGUMENTS, "stdin", job.arguments)
    for secret in job.secrets:
        payload = secret.variable.encode() + b"\0" + secret.value
        yield Frame(kind=FrameKind.SECRET, payload=payload).encode()
    yield Frame(kind=FrameKind.GO, payload=b"").encode()


def check_paths(job: Job) -> None:
    """Refuse a job with a path that does not lead below its folder, before a byte is sent.

    Raises:
        FrameError: Names the path.
    """
    for path, _ in (*job.workspace, *job.inputs):
        if fault := path_fault(path):
            raise FrameError(f"path {path!r} {fault}")


def _file(kind: FrameKind, path: str, data: bytes) -> Iterator[bytes]:
    yield Frame(kind=kind, payload=FileHead(path=path, size_bytes=len(data)).encode()).encode()
    for start in range(0, len(data), MAX_PAYLOAD_BYTES):
        yield Frame(kind=FrameKind.DATA, payload=data[start : start + MAX_PAYLOAD_BYTES]).encode()


def _kind(letter: bytes) -> FrameKind:
    try:
        return FrameKind(letter)
    except ValueError as error:
        raise FrameError(f"no frame begins with {letter!r}") from error
