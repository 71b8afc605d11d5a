"""Gather what a launcher sends into what a run brought back, within the job's caps."""

from hmac import compare_digest

from broker.core.frames import (
    MAX_FILES,
    EndWord,
    FileHead,
    Frame,
    FrameError,
    FrameKind,
)
from broker.core.output import OutputBuffer, OutputSink, Source
from broker.core.redact import Redaction, Redactor
from broker.core.sandbox import Collect, FileChange, Stream

_MAX_NOTES = 100
_MAX_NOTE_BYTES = 1001
_NOTHING = Redaction({})


class Harvest:
    """What came back so far, redacted. Bounded in memory whatever is fed.

    Args:
        output_bytes: Cap on stdout, on stderr, on the sum of files, each.
        collect: Whether changes of the workspace are expected.
        workspace: The paths that went in: only these can have been deleted.
        key: The job's; an end without it is nobody's.
        redaction: What may not come back.
        sink: Keeps both streams, redacted; by default a buffer of its own.
    """

    def __init__(
        self,
        *,
        output_bytes: int,
        collect: Collect,
        workspace: frozenset[str],
        key: bytes,
        redaction: Redaction = _NOTHING,
        sink: OutputSink | None = None,
    ) -> None:
        self._sink: OutputSink = OutputBuffer(output_bytes) if sink is None else sink
        self._collect = collect
        self._workspace = workspace
        self._key = key
        self._redaction = redaction
        self._redactions = 0
        self._left_files = MAX_FILES
        self._streams = {
            FrameKind.STDOUT: _Stream(Source.STDOUT, output_bytes, redaction, self._sink),
            FrameKind.STDERR: _Stream(Source.STDERR, output_bytes, redaction, self._sink),
        }
        self._files: dict[FrameKind, dict[str, bytes | None]] = {
            FrameKind.OUTPUT: {},
            FrameKind.CHANGED: {},
        }
        self._left_bytes = self._left_kept_bytes = output_bytes
        self._open: _OpenFile | None = None
        self._notes: list[str] = []
        self._own_notes: list[str] = []
        self._collecting = False
        self.has_begun = False
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
        if frame.kind is FrameKind.BEGIN:
            self._take_begin()
        elif frame.kind in self._streams:
            self._take_stream(frame)
        elif frame.kind is FrameKind.NOT_BEGUN:
            # What has written or left something did begin, whatever is said of it.
            if self._collecting or any(stream.has_any for stream in self._streams.values()):
                raise FrameError("a tool that never began left something behind")
            self.not_begun = self.redacted(frame.payload)
        else:
            self._collecting = self.has_begun = True
            self._take_collected(frame)

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
        return self._streams[FrameKind.STDOUT].value()

    @property
    def stderr(self) -> Stream:
        """The tool's standard error, as far as it was kept."""
        return self._streams[FrameKind.STDERR].value()

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
        """What the launcher refused to collect, in its words, and what was redacted."""
        return (*self._notes, *self._own_notes[:_MAX_NOTES])

    @property
    def redactions(self) -> int:
        """How many values were replaced."""
        return self._redactions + sum(stream.redactions for stream in self._streams.values())

    def close(self) -> None:
        """Say that nothing more is fed: what was kept back comes, or is left out.

        Where the tool did not come to its end, its streams may break off within a secret.
        """
        for kind, stream in self._streams.items():
            left_out_bytes = stream.close(was_cut=self.end is None)
            if left_out_bytes:
                self._own_notes.append(
                    f"{kind.name.lower()}: its last {left_out_bytes} bytes were left out: "
                    "a secret could begin there"
                )
        self._sink.end()

    def redacted(self, text: bytes) -> str:
        """Give words from inside the sandbox as they may be told."""
        found, count = self._redaction.apply(text)
        self._redactions += count
        return found.decode("utf-8", "replace")

    def _told(self, path: str) -> str:
        """Give a path as it may be told, without counting what is replaced in it."""
        return self._redaction.apply(path.encode())[0].decode("utf-8", "replace")

    def _complete(self, kind: FrameKind) -> tuple[FileChange, ...]:
        if self.end is None:
            return ()
        return tuple(FileChange(path=path, data=data) for path, data in self._files[kind].items())

    def _take_begin(self) -> None:
        if self.has_begun:
            raise FrameError("a tool began a second time")
        self.has_begun = True

    def _take_stream(self, frame: Frame) -> None:
        # A tool is dead before the first file is collected: later output is nobody's.
        if self._collecting:
            raise FrameError("output came after the tool's end")
        self.has_begun = True
        self._streams[frame.kind].take(frame.payload)

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
                self._take_end(EndWord.decode(frame.payload))
            case _:
                raise FrameError(f"a launcher does not send {frame.kind.name}")

    def _take_end(self, word: EndWord) -> None:
        if not compare_digest(word.key, self._key):
            raise FrameError("the end was not the launcher's: it has not the job's key")
        self.end = word

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
        self._open = _OpenFile(kind, head, Redactor(self._redaction))

    def _take_data(self, payload: bytes) -> None:
        if self._open is None:
            raise FrameError("data came without a file")
        if self._open.take(payload):
            whole, self._open = self._open, None
            self._redactions += whole.redactions
            if self._has_room(whole):
                self._keep(whole.kind, whole.path, bytes(whole.data))

    def _has_room(self, file: "_OpenFile") -> bool:
        """Tell whether a file fits: a secret's name may be longer than its value."""
        where = self._told(file.path)
        if len(file.data) > self._left_kept_bytes:
            self.files_capped = True
            self._own_notes.append(f"{where!r}: too large with its secrets redacted")
            return False
        self._left_kept_bytes -= len(file.data)
        if file.redactions:
            self._own_notes.append(f"{where!r}: {file.redactions} values of secrets were replaced")
        return True

    def _keep(self, kind: FrameKind, path: str, data: bytes | None) -> None:
        if kind is FrameKind.CHANGED and self._collect is not Collect.CHANGES:
            raise FrameError("changes of the workspace were not asked for")
        if path in self._files[kind]:
            raise FrameError("a path came twice")
        if data is not None and self._redaction.apply(path.encode())[1]:
            # Under another name it would be another file; two of them could get the same name.
            self._redactions += 1
            self._own_notes.append(f"{self._told(path)!r}: its name holds a secret")
            return
        self._files[kind][path] = data

    def _take_deletion(self, path: str) -> None:
        if path not in self._workspace:
            raise FrameError("a path was deleted that never was")
        self._keep(FrameKind.CHANGED, path, None)

    def _take_note(self, payload: bytes) -> None:
        if not 1 <= len(payload) <= _MAX_NOTE_BYTES or len(self._notes) >= _MAX_NOTES:
            raise FrameError("a malformed note, or too many")
        self.files_capped = self.files_capped or payload[0] == 1
        text = payload[1:]
        if self._redaction.markers:
            # The launcher cuts long names: what is left of a value in one, nothing would know.
            _, colon, why = text.rpartition(b": ")
            text = b"a file: " + (why if colon else b"left behind")
        self._notes.append(self.redacted(text))


class _Stream:
    """A stream on its way to the sink, redacted before; its size is that of what is told of it."""

    def __init__(
        self, source: Source, cap_bytes: int, redaction: Redaction, sink: OutputSink
    ) -> None:
        self._source = source
        self._cap_bytes = cap_bytes
        self._redactor = Redactor(redaction)
        self._sink = sink
        self._size_bytes = 0
        # A tool that prints nothing but its secrets is over the cap by what it wrote.
        self._written_bytes = 0
        self._left_out_bytes = 0

    def take(self, data: bytes) -> None:
        self._written_bytes += len(data)
        self._add(self._redactor.feed(data))

    @property
    def has_any(self) -> bool:
        return self._written_bytes > 0

    @property
    def over_cap(self) -> bool:
        return max(self._written_bytes, self._size_bytes) > self._cap_bytes

    @property
    def redactions(self) -> int:
        return self._redactor.count

    def close(self, *, was_cut: bool) -> int:
        """Add what was kept back, or leave it out; tell how many bytes were left out."""
        if was_cut:
            self._left_out_bytes += self._redactor.drop()
        else:
            self._add(self._redactor.end())
        return self._left_out_bytes

    def value(self) -> Stream:
        return Stream(
            data=self._sink.kept(self._source),
            size_bytes=self._size_bytes,
            truncated=self.over_cap or self._left_out_bytes > 0,
        )

    def _add(self, data: bytes) -> None:
        left_bytes = max(self._cap_bytes - self._size_bytes, 0)
        self._size_bytes += len(data)
        # A redactor often has nothing to give yet, which is no output.
        if taken := data[:left_bytes]:
            self._sink.take(self._source, taken)


class _OpenFile:
    def __init__(self, kind: FrameKind, head: FileHead, redactor: Redactor) -> None:
        self.kind = kind
        self.path = head.path
        self.data = bytearray()
        self._left_bytes = head.size_bytes
        self._redactor = redactor

    def take(self, payload: bytes) -> bool:
        """Add bytes; tell whether the file is whole now."""
        if not payload or len(payload) > self._left_bytes:
            raise FrameError("a file is not as long as announced")
        self._left_bytes -= len(payload)
        self.data += self._redactor.feed(payload)
        if self._left_bytes:
            return False
        self.data += self._redactor.end()
        return True

    @property
    def redactions(self) -> int:
        """How many values were replaced in it."""
        return self._redactor.count
