"""text_search in its own sandbox, on files that an agent may have."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from broker.core.catalog import Tool
from broker.core.sandbox import Report
from tests.sandbox.bench import MIB, Call, Place

FILES = (
    (".git/config", b"needle\n"),
    (".gitignore", b"ignored/\n*.log\n"),
    ("-", b"needle"),
    ("--files", b"needle"),
    ("a/deep/b.txt", b"one\ntwo needle needle\n"),
    ("ignored/x.log", b"a needle\r\n"),
    ("latin.txt", b"caf\xe9 needle\n"),
    ("umlaut.txt", "ä needle ü\n".encode()),
)


def found(report: Report) -> dict[str, Any]:
    """Read the answer of a search that succeeded."""
    assert (report.exit_code, report.stderr.data, report.limits_hit) == (0, b"", ())
    answer: dict[str, Any] = json.loads(report.stdout.data)
    return answer


async def search(call: Call, pattern: str, workspace: Any = FILES, **more: Any) -> dict[str, Any]:
    """Search, which must succeed."""
    return found(await call("text_search", {"pattern": pattern, **more}, workspace=workspace))


class TestAnswer:
    """What is found, and how it is told."""

    async def test_every_file_in_order(self, call: Call) -> None:
        """Hidden, ignored and oddly named files are searched; rows are sorted by path."""
        answer = await search(call, "needle")
        rows = [(row["path"], row["line"], row["column"], row["text"]) for row in answer["matches"]]
        assert rows == [
            ("-", 1, 1, "needle"),
            ("--files", 1, 1, "needle"),
            (".git/config", 1, 1, "needle"),
            ("a/deep/b.txt", 2, 5, "two needle needle"),
            ("ignored/x.log", 1, 3, "a needle"),
            ("latin.txt", 1, 6, "caf\ufffd needle"),
            ("umlaut.txt", 1, 4, "ä needle ü"),
        ]
        assert (answer["binary_files"], answer["truncated"]) == ([], False)

    async def test_lines_end_where_people_see_them_end(self, call: Call) -> None:
        """`$` stands before a carriage return with line feed too."""
        assert [row["path"] for row in (await search(call, "a needle$"))["matches"]] == [
            "ignored/x.log"
        ]

    async def test_no_match_is_success(self, call: Call) -> None:
        """Where nothing matches, or nothing is there, the list is empty."""
        nothing = {"matches": [], "binary_files": [], "truncated": False}
        assert await search(call, "haystack") == nothing
        assert await search(call, "needle", workspace=()) == nothing

    async def test_path_narrows(self, call: Call) -> None:
        """A folder is searched to its depth, a file alone, `.` is everything."""
        assert [row["path"] for row in (await search(call, "needle", path="a"))["matches"]] == [
            "a/deep/b.txt"
        ]
        only = await search(call, "needle", path="latin.txt")
        assert [row["path"] for row in only["matches"]] == ["latin.txt"]
        assert await search(call, "needle", path=".") == await search(call, "needle")

    async def test_pattern_is_a_pattern_only(self, call: Call) -> None:
        """A pattern that looks like an option is searched for."""
        files = (("x", b"--pre=/usr/bin/id\n"),)
        answer = await search(call, "--pre=/usr/bin/id", workspace=files)
        assert [row["text"] for row in answer["matches"]] == ["--pre=/usr/bin/id"]

    async def test_configuration_of_the_workspace_is_no_configuration(self, call: Call) -> None:
        """Neither ripgreprc nor .ignore of the workspace changes the search."""
        files = ((".ignore", b"*\n"), (".ripgreprc", b"--files-without-match\n"), ("x", b"needle"))
        answer = await search(call, "needle", workspace=files)
        assert [row["path"] for row in answer["matches"]] == ["x"]

    async def test_binary_files_are_named(self, call: Call) -> None:
        """A file with a NUL byte, wherever it stands, is named where it matches, never shown."""
        files = (
            ("early.bin", b"\0needle\n"),
            ("late.bin", b"needle\n" * 300_000 + b"\0"),
            ("other.bin", b"\0hay\n"),
            ("utf16.txt", "needle\n".encode("utf-16")),
        )
        answer = await search(call, "needle", workspace=files)
        assert (answer["matches"], answer["binary_files"]) == (
            [],
            ["early.bin", "late.bin", "utf16.txt"],
        )

    async def test_control_characters_are_data(self, call: Call) -> None:
        """Terminal escapes and forged rows in a file stay text of that file's row."""
        files = (("x", b"\x1b]0;needle\x07:y:1:1:needle\x9b\n"),)
        (row,) = (await search(call, "needle", workspace=files))["matches"]
        assert row == {
            "path": "x",
            "line": 1,
            "column": 5,
            "text": "\x1b]0;needle\x07:y:1:1:needle\ufffd",
        }


class TestBounds:
    """However much there is, the answer and the run stay within their limits."""

    async def test_many_matches_are_cut(self, call: Call) -> None:
        """A thousand rows come back, always the first ones, and the answer says so."""
        files = (("a", b"needle\n" * 600), ("b", b"needle\n" * 2_000_000))
        answer = await search(call, "needle", workspace=files)
        last = answer["matches"][-1]
        assert (len(answer["matches"]), answer["truncated"]) == (1000, True)
        assert (last["path"], last["line"]) == ("b", 400)

    async def test_long_lines_are_cut(self, call: Call) -> None:
        """Of a line 500 characters come back; the column still tells where the match is."""
        files = (("x", "é".encode() * 5000 + b"needle" * 9 + b"\n"), ("y", b"needle" + b"z" * 494))
        long, short = (await search(call, "needle", workspace=files))["matches"]
        assert (long["column"], long["text"], long["cut"]) == (10_001, "é" * 500, True)
        assert (len(short["text"]), "cut" in short) == (500, False)

    async def test_a_line_of_marks_is_cut(self, call: Call) -> None:
        """A character with a million combining marks fills no answer."""
        files = (("x", b"needle " + "a\u0301".encode() + "\u0301".encode() * 400_000 + b"\n"),)
        (row,) = (await search(call, "needle", workspace=files))["matches"]
        assert (len(row["text"]), row["cut"]) == (500, True)

    async def test_the_answer_stays_below_the_cap(self, call: Call) -> None:
        """Text that JSON writes six times as long is cut before the output cap ends the call."""
        files = (("x", (b"\x01" * 499 + b"\n") * 2000),)
        report = await call("text_search", {"pattern": "."}, workspace=files)
        answer = found(report)
        assert (answer["truncated"], report.stdout.truncated) == (True, False)
        assert 0 < len(answer["matches"]) < 1000

    async def test_an_endless_line_is_no_text(self, call: Call) -> None:
        """A dense match on a line of 32 MiB is named instead of kept, within 128 MiB."""
        files = (("x", b"n" * 32 * MIB),)
        answer = await search(call, "n", workspace=files)
        assert (answer["matches"], answer["binary_files"]) == ([], ["x"])

    async def test_dense_lines_just_below_that(self, call: Call) -> None:
        """Lines of a mebibyte that match at every byte fit into the memory."""
        line = b"n" * (MIB - 1) + b"\n"
        answer = await search(call, ".", workspace=(("x", line * 32),))
        assert [row["line"] for row in answer["matches"]] == list(range(1, 33))

    @pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*)*(.*)*(.*)*x"])
    async def test_no_pattern_backtracks(self, call: Call, pattern: str) -> None:
        """Patterns that take other engines for ever end in time."""
        answer = await search(call, pattern, workspace=(("x", b"a" * 100_000 + b"!\n"),))
        assert answer["truncated"] is False


class TestFaults:
    """What does not serve is told in words."""

    @pytest.mark.parametrize(
        ("pattern", "word"),
        [
            ("(a", "unclosed group"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("a\nb", "not allowed in a regex"),
            ("((a{1000}){1000}){1000}", "size limit"),
            (r"(\p{L}{200}){50}", "size limit"),
        ],
    )
    async def test_bad_pattern(self, call: Call, pattern: str, word: str) -> None:
        """ripgrep's own message comes back, also where there is no file to search."""
        report = await call("text_search", {"pattern": pattern}, workspace=())
        assert (report.exit_code, report.stdout.data, report.limits_hit) == (1, b"", ())
        assert word in report.stderr.data.decode()

    async def test_bad_path(self, call: Call) -> None:
        """A path that is not there fails, and names the tool that shows what is."""
        report = await call("text_search", {"pattern": "x", "path": "none"}, workspace=FILES)
        assert report.exit_code == 1
        assert b"'none': No such file" in report.stderr.data
        assert b"workspace_list" in report.stderr.data


class TestLinks:
    """A workspace has no links; the script would not follow one all the same."""

    async def test_are_not_followed(
        self, place: Place, images: Mapping[str, str], tools: Mapping[str, Tool]
    ) -> None:
        """Neither a link nor a FIFO is read, by name or on the way; told to, ripgrep follows."""
        command = tools["text_search"].command
        everything = in_tree(place, images, command, '{"pattern":"nobody"}')
        assert [row["path"] for row in json.loads(everything)["matches"]] == ["real/x"]
        named = in_tree(place, images, command, '{"pattern":"nobody","path":"folder"}')
        assert named == "cannot search 'folder': it is neither a file nor a folder"
        ripgrep = (
            "/usr/bin/rg",
            "--follow",
            "-l",
            "--sort=path",
            "nobody",
            "folder/passwd",
            "real",
        )
        assert in_tree(place, images, ripgrep, "") == "folder/passwd\nreal/file\nreal/x"


def in_tree(
    place: Place, images: Mapping[str, str], command: tuple[str, ...], arguments: str
) -> str:
    """Run a command where links lead out of the folder; give what it says."""
    code = f"""
import os, subprocess
os.makedirs("/tmp/w/real"); os.chdir("/tmp/w")
open("real/x", "w").write("nobody")
os.symlink("/etc/passwd", "real/file"); os.symlink("/etc", "folder"); os.mkfifo("fifo")
done = subprocess.run({command!r}, input={arguments!r}.encode(), capture_output=True)
print(done.stdout.decode() or done.stderr.decode())
"""
    return place.twin(images["text_search"], code).strip()
