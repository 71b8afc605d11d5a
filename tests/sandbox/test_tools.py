"""The shipped tools, each in its own sandbox."""

import json
import secrets

import pytest

from broker.core.sandbox import FileChange
from tests.sandbox.bench import Call


class TestPythonRun:
    """python_run"""

    async def test_runs_code_with_its_stdin(self, call: Call) -> None:
        """The code is __main__, reads the given text, sees the workspace."""
        code = "import sys\nprint(__name__, sys.stdin.read(), open('a/b.txt').read())"
        report = await call("python_run", {"code": code, "stdin": "given"})
        assert (report.exit_code, report.stdout.data) == (0, b"__main__ given hello\n")

    async def test_traceback_names_the_line_of_the_code(self, call: Call) -> None:
        """An error is told as Python tells it, with nothing of the entry script."""
        report = await call("python_run", {"code": "x = 1\nraise ValueError('ü')"})
        assert (report.exit_code, report.stderr.data.decode().splitlines()) == (
            1,
            [
                "Traceback (most recent call last):",
                '  File "<code>", line 2, in <module>',
                "ValueError: ü",
            ],
        )

    async def test_exit_code_is_the_codes_own(self, call: Call) -> None:
        """sys.exit is the tool's exit code."""
        report = await call("python_run", {"code": "raise SystemExit(42)"})
        assert report.exit_code == 42

    async def test_standard_library_works(self, call: Call) -> None:
        """Processes, threads, locks in shared memory, databases, TLS, subprocesses work."""
        code = """
import asyncio, ctypes, multiprocessing, sqlite3, ssl, subprocess, tempfile, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
if __name__ == "__main__":
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=queue.put, args=(1,))
    child.start(); assert queue.get() == 1; child.join()
    assert list(ThreadPoolExecutor(4).map(abs, [-1])) == [1]
    assert ProcessPoolExecutor(1).submit(abs, -2).result() == 2
    assert sqlite3.connect("/tmp/x.db").execute("select 1").fetchall() == [(1,)]
    assert subprocess.run(["cat"], input=b"x", capture_output=True).stdout == b"x"
    with tempfile.TemporaryFile() as file: file.write(b"x")
    asyncio.run(asyncio.sleep(0)); ssl.create_default_context()
    print("fine")
"""
        report = await call("python_run", {"code": code})
        assert (report.stdout.data, report.stderr.data) == (b"fine\n", b"")


class TestWorkspaceTools:
    """workspace_list, workspace_read, workspace_write, workspace_delete"""

    async def test_list_is_sorted_json(self, call: Call) -> None:
        """Every file is there with size with digest."""
        report = await call("workspace_list", {})
        listing = json.loads(report.stdout.data)["files"]
        assert [(each["path"], each["size"], each["sha256"][:8]) for each in listing] == [
            ("a/b.txt", 5, "2cf24dba"),
            ("c.bin", 2, "ea5dbf95"),
        ]

    async def test_list_of_a_folder(self, call: Call) -> None:
        """A path narrows the list to what is below it."""
        report = await call("workspace_list", {"path": "a"})
        assert [each["path"] for each in json.loads(report.stdout.data)["files"]] == ["a/b.txt"]

    async def test_read_gives_the_exact_bytes(self, call: Call) -> None:
        """Bytes that are no text come back as they are."""
        report = await call("workspace_read", {"path": "c.bin"})
        assert (report.exit_code, report.stdout.data) == (0, b"\xff\x00")

    @pytest.mark.parametrize(
        ("size_bytes", "is_printed"), [(1 << 20, True), ((1 << 20) + 1, False)]
    )
    async def test_read_of_a_large_file(
        self, call: Call, size_bytes: int, is_printed: bool
    ) -> None:
        """A file above 1 MiB comes back as an output of its name, a smaller one as the output."""
        data = secrets.token_bytes(size_bytes)
        report = await call("workspace_read", {"path": "a/b"}, workspace=(("a/b", data),))
        assert report.exit_code == 0
        assert report.stdout.data == (data if is_printed else b"")
        assert report.outputs == (() if is_printed else (FileChange(path="b", data=data),))

    async def test_write_of_a_large_upload(self, call: Call) -> None:
        """The largest upload of the default settings is written into the workspace."""
        data = secrets.token_bytes(32 << 20)
        report = await call(
            "workspace_write",
            {"path": "new", "from_output": "uploads/any"},
            inputs=(("from_output", data),),
        )
        assert (report.exit_code, report.stderr.data, report.notes) == (0, b"", ())
        assert report.changes == (FileChange(path="new", data=data),)

    async def test_write_makes_folders(self, call: Call) -> None:
        """A new file in a new folder is the one change."""
        report = await call("workspace_write", {"path": "x/y", "content": "hé"})
        assert (report.exit_code, report.changes) == (
            0,
            (FileChange(path="x/y", data="hé".encode()),),
        )

    async def test_write_takes_an_earlier_output(self, call: Call) -> None:
        """The bytes come from the file that the broker resolved."""
        report = await call(
            "workspace_write",
            {"path": "new", "from_output": "uploads/any"},
            inputs=(("from_output", b"\x00bytes"),),
        )
        assert report.changes == (FileChange(path="new", data=b"\x00bytes"),)

    async def test_delete_is_a_change_to_nothing(self, call: Call) -> None:
        """A deleted file comes back as its path without data."""
        report = await call("workspace_delete", {"path": "a/b.txt"})
        assert report.changes == (FileChange(path="a/b.txt", data=None),)

    @pytest.mark.parametrize(
        ("tool", "arguments", "word"),
        [
            ("workspace_list", {"path": "none"}, "'none'"),
            ("workspace_read", {"path": "none"}, "No such file"),
            ("workspace_read", {"path": "a"}, "is a folder"),
            ("workspace_write", {"path": "a", "content": ""}, "is a folder"),
            ("workspace_write", {"path": "c.bin/x", "content": ""}, "cannot write"),
            ("workspace_delete", {"path": "none"}, "No such file"),
            ("workspace_delete", {"path": "a"}, "is a folder"),
        ],
    )
    async def test_faults_are_told_in_words(
        self, call: Call, tool: str, arguments: dict[str, str], word: str
    ) -> None:
        """A path that does not serve ends with exit code 1, one line on stderr, no change."""
        report = await call(tool, arguments)
        said = report.stderr.data.decode()
        assert (report.exit_code, report.changes, said.count("\n")) == (1, (), 1)
        assert word in said
