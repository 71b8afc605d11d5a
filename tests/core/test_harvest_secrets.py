"""What a tool may bring back of its secrets: nothing, by whichever way it comes."""

import base64

import pytest

from broker.core.collect import Harvest
from broker.core.frames import KEY_BYTES, FileHead, Frame, FrameKind, FrameReader, job_frames
from broker.core.output import OutputBuffer, Source
from broker.core.redact import Redaction
from broker.core.sandbox import Collect, FileChange, Job, Stream
from broker.core.secret import Secret

VALUE = b"s3cr3t-Token/42"
SECRET = Secret(name="api_token", value=VALUE)
MARKER = SECRET.marker
KEY = bytes(range(KEY_BYTES))
END = Frame(kind=FrameKind.END, payload=b"\0\0" + KEY)


def harvest(
    output_bytes: int = 1000, *, redacts: bool = True, sink: OutputBuffer | None = None
) -> Harvest:
    """Make one that redacts, or its twin."""
    return Harvest(
        output_bytes=output_bytes,
        collect=Collect.CHANGES,
        workspace=frozenset({"a"}),
        key=KEY,
        redaction=Redaction.of([SECRET] if redacts else []),
        sink=sink,
    )


def frames_of(kind: FrameKind, path: str, *pieces: bytes) -> list[Frame]:
    """Make the frames of a file."""
    head = FileHead(path=path, size_bytes=sum(map(len, pieces))).encode()
    return [
        Frame(kind=kind, payload=head),
        *(Frame(kind=FrameKind.DATA, payload=piece) for piece in pieces),
    ]


def feed(gathered: Harvest, *frames: Frame) -> Harvest:
    """Feed frames."""
    for frame in frames:
        gathered.feed(frame)
    gathered.close()
    return gathered


def vars_of(found: Harvest) -> tuple[object, ...]:
    """Give all that is told of a run."""
    return found.stdout, found.notes, found.redactions


def out(data: bytes) -> Frame:
    """Make a frame of standard output."""
    return Frame(kind=FrameKind.STDOUT, payload=data)


class TestStreams:
    """Standard output, as it is kept."""

    PIECES = (out(b"<" + VALUE[:5]), out(VALUE[5:] + b"><"), out(base64.b64encode(VALUE) + b">"))

    def test_values_are_replaced_across_frames(self) -> None:
        """A value that comes in two frames, and its base64, are replaced; sizes are of what is."""
        found = feed(harvest(), *self.PIECES, END)
        kept = found.stdout
        assert (kept.data, kept.size_bytes) == (b"<%b><%b>" % (MARKER, MARKER), len(kept.data))
        assert found.redactions == 2

    def test_without_redaction_they_are_not(self) -> None:
        """The twin: what is not to be redacted comes as it is."""
        found = feed(harvest(redacts=False), *self.PIECES, END)
        assert VALUE in found.stdout.data
        assert (base64.b64encode(VALUE) in found.stdout.data, found.redactions) == (True, 0)

    @pytest.mark.parametrize("redacts", [True, False], ids=["redacted", "twin"])
    def test_who_reads_along_sees_no_more_than_the_result(self, redacts: bool) -> None:
        """Before each frame is taken in, as after, no piece of a value is there to be read."""
        buffer = OutputBuffer(1000)
        gathered = harvest(redacts=redacts, sink=buffer)
        seen = []
        for frame in self.PIECES:
            gathered.feed(frame)
            seen.append(buffer.kept(Source.STDOUT))
        gathered.feed(END)
        gathered.close()
        assert buffer.is_ended
        assert buffer.kept(Source.STDOUT) == gathered.stdout.data
        assert any(VALUE[:5] in early for early in seen) is not redacts

    @pytest.mark.parametrize("size", range(len(VALUE)))
    def test_a_beginning_at_the_cap_is_not_given_away(self, size: int) -> None:
        """Where the output is cut, what could be the beginning of a value is left out, and said."""
        line = b"a line\n"
        found = feed(harvest(100), out(line + b"012" + VALUE[:size]))
        assert found.stdout == Stream(data=line, size_bytes=len(line), truncated=True)
        assert found.notes == (
            f"stdout: its last {3 + size} bytes were left out: a secret could begin there",
        )

    def test_it_is_left_out_whatever_it_is(self) -> None:
        """What is left out does not depend on the value: a guess at it is not told by the cut."""
        guesses = [VALUE[:4], b"9" * 4]
        told = {repr(vars_of(feed(harvest(10), out(b"012345" + guess)))) for guess in guesses}
        assert len(told) == 1

    def test_what_only_looks_like_a_beginning_is_kept(self) -> None:
        """The twin: a stream that came to its own end keeps its last byte."""
        found = feed(harvest(), out(b"0123456789" + VALUE[:3]), END)
        assert (found.stdout.data, found.notes) == (b"0123456789" + VALUE[:3], ())
        assert not found.stdout.truncated

    def test_whole_lines_are_not_cut(self) -> None:
        """A cut behind a line end leaves nothing out, and says nothing."""
        found = feed(harvest(), out(b"a line\n"))
        assert found.stdout == Stream(data=b"a line\n", size_bytes=7, truncated=False)
        assert found.notes == ()

    def test_the_cap_counts_what_was_written_and_what_is_kept(self) -> None:
        """Neither a tool that prints nothing but secrets nor their long names pass the cap."""
        assert feed(harvest(20), out(VALUE * 2)).over_cap
        names = feed(harvest(100), out((VALUE + b"\n") * 6), END)
        assert (names.over_cap, len(names.stdout.data)) == (True, 100)


class TestFiles:
    """Files of /out, changes of the workspace."""

    @pytest.mark.parametrize("kind", [FrameKind.OUTPUT, FrameKind.CHANGED])
    def test_values_are_replaced_with_a_note(self, kind: FrameKind) -> None:
        """A file's bytes are redacted across frames; the call says that they were."""
        file = frames_of(kind, "f", b"<" + VALUE[:3], VALUE[3:] + b">")
        found = feed(harvest(), *file, END)
        assert found.outputs + found.changes == (FileChange(path="f", data=b"<%b>" % MARKER),)
        assert found.notes == ("'f': 1 values of secrets were replaced",)
        assert found.redactions == 1

    def test_a_name_that_holds_one_is_left_behind(self) -> None:
        """A file is not kept under a secret's name, nor is it told what that was."""
        file = frames_of(FrameKind.OUTPUT, f"x-{VALUE.hex()}", b"data")
        found = feed(harvest(), *file, *frames_of(FrameKind.OUTPUT, "y", b"data"), END)
        assert [change.path for change in found.outputs] == ["y"]
        assert found.notes == ("'x-[secret api_token]': its name holds a secret",)

    def test_without_redaction_it_is_kept(self) -> None:
        """The twin: name and bytes come as they are."""
        name = f"x-{VALUE.hex()}"
        found = feed(harvest(redacts=False), *frames_of(FrameKind.OUTPUT, name, VALUE), END)
        assert found.outputs == (FileChange(path=name, data=VALUE),)

    def test_names_of_secrets_do_not_pass_the_cap(self) -> None:
        """A file that grows beyond the cap by redaction is left behind, and said so."""
        found = feed(harvest(100), *frames_of(FrameKind.OUTPUT, "f", (VALUE + b"\n") * 6), END)
        assert (found.outputs, found.files_capped) == ((), True)
        assert found.notes == ("'f': too large with its secrets redacted",)

    def test_notes_stay_bounded(self) -> None:
        """A thousand redacted files make a hundred notes, and stop none of the launcher's."""
        many = [
            frame
            for number in range(900)
            for frame in frames_of(FrameKind.OUTPUT, f"f{number}", VALUE)
        ]
        note = Frame(kind=FrameKind.NOTE, payload=b"\0a link")
        found = feed(harvest(100_000), *many, note, END)
        assert (len(found.outputs), len(found.notes), found.redactions) == (900, 101, 900)


class TestWords:
    """What the launcher says."""

    @pytest.mark.parametrize("kept", range(len(VALUE) + 1))
    def test_a_note_names_no_file(self, kept: int) -> None:
        """The launcher cuts long names: a part of a value would be in none of the known forms."""
        note = Frame(kind=FrameKind.NOTE, payload=b"\0'/out/%b': a symlink" % VALUE[:kept])
        assert feed(harvest(), note, END).notes == ("a file: a symlink",)

    def test_a_note_of_a_call_without_secrets_does(self) -> None:
        """The twin: where there is nothing to hide, the file is named."""
        note = Frame(kind=FrameKind.NOTE, payload=b"\0'/out/%b': a symlink" % VALUE)
        found = feed(harvest(redacts=False), note, END)
        assert found.notes == (f"'/out/{VALUE.decode()}': a symlink",)

    def test_a_note_without_a_reason_tells_nothing(self) -> None:
        """What has no known form of a note is not passed on."""
        note = Frame(kind=FrameKind.NOTE, payload=b"\0" + VALUE[:9])
        assert feed(harvest(), note, END).notes == ("a file: left behind",)

    def test_what_kept_a_tool_from_beginning_is_redacted(self) -> None:
        """So is why a tool could not be started."""
        found = feed(harvest(), Frame(kind=FrameKind.NOT_BEGUN, payload=b"no " + VALUE))
        assert found.not_begun == "no [secret api_token]"


class TestJob:
    """How a secret travels."""

    def test_a_frame_of_its_own(self) -> None:
        """It stands in one SECRET frame, in no other, and not in what a record of the job shows."""
        job = Job(
            arguments=b"{}",
            workspace=(),
            inputs=(),
            timeout_s=1,
            output_bytes=10,
            collect=Collect.OUTPUTS,
            secrets=(SECRET,),
        )
        frames = FrameReader().feed(b"".join(job_frames(job, KEY)))
        carrying = [frame for frame in frames if VALUE in frame.payload]
        assert [(frame.kind, frame.payload) for frame in carrying] == [
            (FrameKind.SECRET, b"API_TOKEN\0" + VALUE)
        ]
        assert frames[-1].kind is FrameKind.GO
        shown = f"{job!r} {frames!r}"
        assert (VALUE.decode() in shown, "[secret api_token]" in shown) == (False, True)
