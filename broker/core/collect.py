"""Gather what a launcher sends into what a run brought back, within the job's caps."""

from broker.core.frames import (
    MAX_FILES,
    EndWord,
    FileHead,
    Frame,
    FrameError,
    FrameKind,
)
from broker.core.output import OutputBuffer, OutputSink, Source
from broker.core.sandbox import Collect, FileChange, Stream

_MAX_NOTES = 100
_MAX_NOTE_BYTES = 1001


class Harvest:
    """What came back so far. Bounded in memory whatever is fed.

    Args:
        output_bytes: Cap on stdout, on stderr, on the sum of files, each.
        collect: Whether changes of the workspace are expected.
        workspace: The paths that went in: only these can have been deleted.
        sink: Keeps both streams; by default a buffer of its own.
    """

    def __init__(
        self,
        *,
        output_bytes: int,
        collect: Collect,
        workspace: frozenset[str],
        sink: OutputSink | None = None,
    ) -> None:
        self._sink: OutputSink = OutputBuffer(output_bytes) if sink is None else sink
        self._collect = collect
        self._workspace = workspace
        self._left_files = MAX_FILES
        self._streams = {
            FrameKind.STDOUT: _Stream(Source.STDOUT, output_bytes),
            FrameKind.STDERR: _Stream(Source.STDERR, output_bytes),
        }
        self._files: dict[FrameKind, dict[str, bytes | None]] = {
            FrameKind.OUTPUT: {},
            FrameKind.CHANGED: {},
        }
        self._left_bytes = output_bytes
        self._open: _OpenFile | None = None
        self._notes: list[str] = []
        self._collecting = False
        self.files_capped = False
        self.end: EndWord | None = None
        self.not_begun: str | None = None

    def feed(self, frame: Frame) -> None:
        """Take the next frame.

        Raises:
            FrameError: The launcher may not send this now, or not as much. Nothing more is fed.
        """
        if self.is_over:
            raise FrameError("a frame came after the end")
        if self._open is not None and frame.kind is not FrameKind.DATA:
            raise FrameError("a file ended early")
        if frame.kind in self._streams:
            self._take_stream(frame)
        elif frame.kind is FrameKind.NOT_BEGUN:
            # What has written or left something did begin, whatever is said of it.
            if self._collecting or any(stream.has_any for stream in self._streams.values()):
                raise FrameError("a tool that never began left something behind")
            self.not_begun = frame.payload.decode("utf-8", "replace")
        else:
            self._collecting = True
            self._take_collected(frame)

    def close(self) -> None:
        """Say that no more frames come, for whatever reason."""
        self._sink.end()

    @property
    def is_over(self) -> bool:
        """Tell whether the launcher has said its last word."""
        return self.end is not None or self.not_begun is not None

    @property
    def over_cap(self) -> bool:
        """Tell whether the tool wrote more than it may to one of its streams."""
        return any(stream.over_cap for stream in self._streams.values())

    @property
    def stdout(self) -> Stream:
        """The tool's standard output, as far as it was kept."""
        return self._stream(FrameKind.STDOUT)

    @property
    def stderr(self) -> Stream:
        """The tool's standard error, as far as it was kept."""
        return self._stream(FrameKind.STDERR)

    @property
    def outputs(self) -> tuple[FileChange, ...]:
        """Files from /out, by path; none unless the run came to its end."""
        return self._complete(FrameKind.OUTPUT)

    @property
    def changes(self) -> tuple[FileChange, ...]:
        """Changes below /workspace, by path; none unless the run came to its end."""
        return self._complete(FrameKind.CHANGED)

    @property
    def files_bytes(self) -> int:
        """Size of the files that came back, together."""
        return sum(len(file.data or b"") for file in (*self.outputs, *self.changes))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the launcher refused to collect, in its words."""
        return tuple(self._notes)

    def _stream(self, kind: FrameKind) -> Stream:
        stream = self._streams[kind]
        return Stream(
            data=self._sink.kept(stream.source),
            size_bytes=stream.size_bytes,
            truncated=stream.over_cap,
        )

    def _complete(self, kind: FrameKind) -> tuple[FileChange, ...]:
        if self.end is None:
            return ()
        return tuple(FileChange(path=path, data=data) for path, data in self._files[kind].items())

    def _take_stream(self, frame: Frame) -> None:
        # A tool is dead before the first file is collected: later output is nobody's.
        if self._collecting:
            raise FrameError("output came after the tool's end")
        stream = self._streams[frame.kind]
        self._sink.take(stream.source, stream.count(frame.payload))

    def _take_collected(self, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.OUTPUT | FrameKind.CHANGED:
                self._open_file(frame.kind, FileHead.decode(frame.payload))
            case FrameKind.DATA:
                self._take_data(frame.payload)
            case FrameKind.DELETED:
                self._take_deletion(FileHead.decode(frame.payload).path)
            case FrameKind.NOTE:
                self._take_note(frame.payload)
            case FrameKind.END:
                self.end = EndWord.decode(frame.payload)
            case _:
                raise FrameError(f"a launcher does not send {frame.kind.name}")

    def _open_file(self, kind: FrameKind, head: FileHead) -> None:
        if head.size_bytes > self._left_bytes:
            raise FrameError("more bytes of files than the job allows")
        if self._left_files == 0:
            raise FrameError("more files than the job allows")
        self._left_bytes -= head.size_bytes
        self._left_files -= 1
        if head.size_bytes == 0:
            self._keep(kind, head.path, b"")
            return
        self._open = _OpenFile(kind, head)

    def _take_data(self, payload: bytes) -> None:
        if self._open is None:
            raise FrameError("data came without a file")
        if self._open.take(payload):
            self._keep(self._open.kind, self._open.path, bytes(self._open.data))
            self._open = None

    def _keep(self, kind: FrameKind, path: str, data: bytes | None) -> None:
        if kind is FrameKind.CHANGED and self._collect is not Collect.CHANGES:
            raise FrameError("changes of the workspace were not asked for")
        if path in self._files[kind]:
            raise FrameError("a path came twice")
        self._files[kind][path] = data

    def _take_deletion(self, path: str) -> None:
        if path not in self._workspace:
            raise FrameError("a path was deleted that never was")
        self._keep(FrameKind.CHANGED, path, None)

    def _take_note(self, payload: bytes) -> None:
        if not 1 <= len(payload) <= _MAX_NOTE_BYTES or len(self._notes) >= _MAX_NOTES:
            raise FrameError("a malformed note, or too many")
        self.files_capped = self.files_capped or payload[0] == 1
        self._notes.append(payload[1:].decode("utf-8", "replace"))


class _Stream:
    def __init__(self, source: Source, cap_bytes: int) -> None:
        self.source = source
        self.size_bytes = 0
        self._cap_bytes = cap_bytes

    def count(self, data: bytes) -> bytes:
        """Count bytes; give those within the cap."""
        left_bytes = max(self._cap_bytes - self.size_bytes, 0)
        self.size_bytes += len(data)
        return data[:left_bytes]

    @property
    def has_any(self) -> bool:
        return self.size_bytes > 0

    @property
    def over_cap(self) -> bool:
        return self.size_bytes > self._cap_bytes


class _OpenFile:
    def __init__(self, kind: FrameKind, head: FileHead) -> None:
        self.kind = kind
        self.path = head.path
        self.data = bytearray()
        self._size_bytes = head.size_bytes

    def take(self, payload: bytes) -> bool:
        """Add bytes; tell whether the file is whole now."""
        if not payload or len(self.data) + len(payload) > self._size_bytes:
            raise FrameError("a file is not as long as announced")
        self.data += payload
        return len(self.data) == self._size_bytes
