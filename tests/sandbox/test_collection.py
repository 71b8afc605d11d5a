"""What comes back from /out and the workspace, and what does not."""

import asyncio
import json

import pytest

from broker.core.sandbox import Collect, FileChange
from broker.errors import SandboxError
from tests.sandbox.bench import MIB, Bench, Place, job

MAKE_DEVICE = """
import os, stat
try:
    os.mknod("/out/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    print("made")
except PermissionError:
    print("refused")
"""
TRICKS = r"""
import os, socket
os.chdir("/out")
open("plain", "w").write("plain")
os.mkdir("folder"); open("folder/inner", "w").write("inner")
os.symlink("/etc/passwd", "symlink")
os.symlink("/", "symlink-folder")
open("one", "w").write("1"); os.link("one", "two")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
with open("sparse", "wb") as file: file.truncate(1 << 40)
open(b"\xff\xfe", "w").write("x")
open("new\nline", "w").write("x")
open("back\\slash", "w").write("x")
open("secret", "w").write("x"); os.chmod("secret", 0)
os.mkdir("closed"); open("closed/x", "w").close(); os.chmod("closed", 0)
open("empty", "w").close()
fd = os.open("/out", os.O_RDONLY)
for depth in range(24):
    os.mkdir("n" * 250, dir_fd=fd)
    fd = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
"""

PLAIN_COLLECTOR = r"""
import json
found = {}
def collect(fd, above):
    for name in os.listdir(fd):
        try:
            inner = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=fd)
        except OSError:
            continue
        try:
            kind = os.fstat(inner).st_mode & 0o170000
            if kind == 0o040000 and name != "symlink-folder":
                collect(inner, above + name + "/")
            elif kind == 0o100000:
                found[above + name] = os.read(inner, 100).decode("utf-8", "replace")
            elif kind == 0o010000:
                found[above + name] = "opened"
        finally:
            os.close(inner)
collect(os.open("/out", os.O_RDONLY), "")
print(json.dumps(found))
"""


class TestOutputs:
    """Files that a tool leaves in /out."""

    async def test_only_plain_files_come_back(self, bench: Bench) -> None:
        """Links, FIFOs, sockets, holes, hostile names stay behind, each with a note."""
        report = await bench.run(TRICKS)
        assert report.stderr.data == b""
        assert report.outputs == (
            FileChange(path="empty", data=b""),
            FileChange(path="folder/inner", data=b"inner"),
            FileChange(path="plain", data=b"plain"),
        )
        said = "\n".join(report.notes)
        for word in (
            "a symlink",
            "a hard link",
            "not a regular file",
            "bytes of files",
            "not UTF-8",
            "a control character or a backslash",
            "Permission denied",
            "longer than 1024 bytes",
        ):
            assert word in said
        assert report.limits_hit == ("files",)

    async def test_a_plain_collector_takes_what_ours_leaves(
        self, place: Place, bench: Bench
    ) -> None:
        """The twin: who walks /out and opens what it finds reads through links, by any name."""
        code = f"{TRICKS}\n{PLAIN_COLLECTOR}"
        tmpfs = {"/out": "uid=65534"}
        image = bench.profile.image
        said = await asyncio.to_thread(place.twin, image, code, tmpfs=tmpfs, user="65534")
        found = json.loads(said.splitlines()[-1])
        assert found["symlink"].startswith("root:")
        assert found["one"] == found["two"] == "1"
        assert found["new\nline"] == found["back\\slash"] == "x"
        assert found["fifo"] == "opened"
        assert max(map(len, found)) > 5_000

    async def test_a_device_cannot_be_made(self, place: Place, bench: Bench) -> None:
        """A tool can make no device, so none can lie in /out; who has the capability can."""
        report = await bench.run(MAKE_DEVICE)
        assert (report.stdout.data, report.outputs) == (b"refused\n", ())
        code, tmpfs = MAKE_DEVICE, {"/out": "mode=1777"}
        made = await asyncio.to_thread(place.twin, bench.profile.image, code, tmpfs=tmpfs, user="0")
        assert made == "made\n"

    async def test_a_sparse_file_counts_in_full(self, bench: Bench) -> None:
        """A file of holes takes its whole size from the cap, whatever it takes on the disk."""
        code = """
for name, size in (("a", 60), ("b", 60), ("c", 40)):
    with open(f"/out/{name}", "wb") as file:
        file.truncate(size)
"""
        report = await bench.run(code, output_bytes=100)
        assert report.outputs == (
            FileChange(path="a", data=bytes(60)),
            FileChange(path="c", data=bytes(40)),
        )
        assert "'b': left behind, beyond 100 bytes of files" in report.notes[0]

    async def test_a_name_of_5000_bytes_in_the_workspace(self, bench: Bench) -> None:
        """A path that is too long is no change, in the workspace as in /out."""
        code = """
import os
fd = os.open(".", os.O_RDONLY)
for depth in range(20):
    os.mkdir("n" * 250, dir_fd=fd)
    fd = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
open("short", "w").close()
"""
        report = await bench.run(code, collect=Collect.CHANGES)
        assert report.changes == (FileChange(path="short", data=b""),)
        assert "longer than 1024 bytes" in report.notes[0]

    async def test_unreadable_out_is_the_tools_loss(self, bench: Bench) -> None:
        """A tool that closes /out gets nothing back, and its run is reported all the same."""
        report = await bench.run("open('/out/x', 'w').close()\nimport os; os.chmod('/out', 0)")
        assert (report.exit_code, report.outputs, report.notes) == (
            0,
            (),
            ("/out: Permission denied",),
        )

    async def test_renaming_child_is_dead_by_then(self, bench: Bench) -> None:
        """A child that swaps a file with a link for ever cannot do so during collection."""
        code = """
import os
open("/out/a", "w").write("mine")
os.symlink("/etc/passwd", "/tmp/link")
if os.fork() == 0:
    os.setsid()
    while True:
        os.symlink("/etc/passwd", "/out/b"); os.rename("/out/b", "/out/a")
        open("/out/b", "w").write("mine"); os.rename("/out/b", "/out/a")
"""
        report = await bench.run(code)
        assert {each.data for each in report.outputs if each.path == "a"} <= {b"mine", b""}

    async def test_renaming_child_that_lives_on_wins(self, place: Place, bench: Bench) -> None:
        """The twin: beside a living child, who looks first and opens then reads what it wants."""
        code = """
import os, signal
open("/out/a", "w").write("mine")
child = os.fork()
if child == 0:
    while True:
        os.symlink("/etc/passwd", "/out/b"); os.rename("/out/b", "/out/a")
        open("/out/b", "w").write("mine"); os.rename("/out/b", "/out/a")
said = ""
while not said.startswith("root:"):
    if os.lstat("/out/a").st_mode & 0o170000 == 0o100000:
        said = open("/out/a").read()
os.kill(child, signal.SIGKILL)
print(said)
"""
        tmpfs = {"/out": "uid=65534"}
        image = bench.profile.image
        said = await asyncio.to_thread(place.twin, image, code, tmpfs=tmpfs, user="65534")
        assert said.startswith("root:")

    async def test_quota_is_for_all_files_together(self, bench: Bench) -> None:
        """Files come back as long as they fit under the cap; the one that does not is noted."""
        code = """
for name in "abc":
    open(f"/out/{name}", "w").write("x" * 40)
"""
        report = await bench.run(code, output_bytes=100)
        assert ([each.path for each in report.outputs], report.limits_hit) == (
            ["a", "b"],
            ("files",),
        )


class TestWorkspace:
    """Files that go in, and their changes."""

    async def test_goes_in_exactly(self, bench: Bench) -> None:
        """Files with folders, bytes, nothing in them are there as they were sent."""
        files = (("a/b/c.bin", bytes(range(256))), ("empty", b""), ("ünï", b"x" * 200_000))
        code = """
import os, sys
print(sorted(os.listdir(".")), flush=True)
for path in ("a/b/c.bin", "empty", "ünï"):
    sys.stdout.buffer.write(open(path, "rb").read())
"""
        report = await bench.run(code, workspace=files)
        listing = "['a', 'empty', 'ünï']\n".encode()
        assert report.stdout.data == listing + b"".join(data for _, data in files)

    async def test_changes_come_back_when_asked_for(self, bench: Bench) -> None:
        """New, changed, deleted, moved files come back; touched ones that are the same do not."""
        code = """
import os
open("changed", "w").write("after")
open("new/er" if os.makedirs("new") else "new/er", "w").write("new")
os.remove("deleted")
os.rename("moved", "moved-to")
open("same", "w").write("same")
"""
        files = tuple(
            (name, name.encode()) for name in ("changed", "deleted", "moved", "same", "untouched")
        )
        report = await bench.run(code, workspace=files, collect=Collect.CHANGES)
        assert report.changes == (
            FileChange(path="changed", data=b"after"),
            FileChange(path="moved-to", data=b"moved"),
            FileChange(path="new/er", data=b"new"),
            FileChange(path="deleted", data=None),
            FileChange(path="moved", data=None),
        )

    async def test_changes_stay_behind_when_not_asked_for(self, bench: Bench) -> None:
        """A tool that may only read changes its own copy."""
        report = await bench.run("open('new', 'w').write('x')", workspace=(("a", b"a"),))
        assert report.changes == ()

    async def test_link_in_the_place_of_a_file_changes_nothing(self, bench: Bench) -> None:
        """A file replaced by a link is neither followed nor taken for deleted."""
        code = "import os; os.remove('a'); os.symlink('/etc/passwd', 'a')"
        report = await bench.run(code, workspace=(("a", b"a"),), collect=Collect.CHANGES)
        assert (report.changes, report.notes) == ((), ("/workspace/'a': a symlink",))

    async def test_inputs_stand_below_in(self, bench: Bench) -> None:
        """A file that an argument names is at /in/<argument>."""
        report = await bench.run(
            "print(open('/in/from_output').read())", inputs=(("from_output", b"bytes"),)
        )
        assert report.stdout.data == b"bytes\n"

    async def test_that_does_not_fit_never_begins(self, bench: Bench) -> None:
        """A workspace larger than its tmpfs is refused before the tool starts."""
        with pytest.raises(SandboxError, match="No space left"):
            await bench.run("print(1)", workspace=(("big", bytes(20 * MIB)),))

    @pytest.mark.parametrize(
        "path", ["../x", "/etc/x", "a/../../x", "", "a//b", "a\nb", "n" * 2000]
    )
    async def test_hostile_path_is_refused_before_a_byte_is_sent(
        self, bench: Bench, path: str
    ) -> None:
        """A path that leads elsewhere never reaches the container."""
        sandbox = await bench.prepare()
        with pytest.raises(SandboxError, match="cannot be sent"):
            await sandbox.run(job("print(1)", workspace=((path, b"x"),)))
        await sandbox.discard()
