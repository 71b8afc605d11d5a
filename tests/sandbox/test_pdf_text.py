"""pdf_text in its own sandbox, on files that somebody hostile may have made."""

import json
from typing import Any

import pytest

from broker.core.call import Cause
from broker.core.sandbox import Report
from tests.sandbox.bench import MIB, Call
from tests.sandbox.pdfs import deflated, encrypted, pdf, shows


async def read(call: Call, file: bytes, **more: Any) -> Report:
    """Read one PDF."""
    return await call("pdf_text", {"path": "x.pdf", **more}, workspace=(("x.pdf", file),))


def answer(report: Report) -> dict[str, Any]:
    """Read the answer where the file could be read."""
    assert (report.exit_code, report.stderr.data, report.limits_hit) == (0, b"", ())
    found: dict[str, Any] = json.loads(report.stdout.data)
    return found


def fault(report: Report) -> str:
    """Read what the tool says where it could not: one line, and nothing that looks like text."""
    said = report.stderr.data.decode()
    assert (report.exit_code, report.stdout.data, said.count("\n")) == (1, b"", 1)
    return said


class TestAnswer:
    """What is in a PDF, and how it is told."""

    async def test_text_per_page(self, call: Call) -> None:
        """Each page's text stands under its number, beside the number of pages."""
        file = pdf(shows("Hello one") + b"\n" + shows("and more", at=600), shows("Page two"), b"")
        assert answer(await read(call, file)) == {
            "pages": [
                {"page": 1, "text": "Hello one\n\nand more\n\n"},
                {"page": 2, "text": "Page two\n\n"},
                {"page": 3, "text": ""},
            ],
            "page_count": 3,
            "truncated": False,
        }

    async def test_characters_beyond_ascii(self, call: Call) -> None:
        """What a font says that its characters mean comes back as UTF-8."""
        file = pdf(shows("abc"), means={b"a": "ü", b"b": "€", b"c": "\U0001d4b3"})
        assert answer(await read(call, file))["pages"] == [{"page": 1, "text": "ü€\U0001d4b3\n\n"}]

    async def test_long_files_are_read_in_parts(self, call: Call) -> None:
        """Five hundred pages come back at once, the others from `first_page` on."""
        file = pdf(*(shows(f"number {number}") for number in range(1, 701)))
        first = answer(await read(call, file))
        rest = answer(await read(call, file, first_page=501))
        pages = [*first["pages"], *rest["pages"]]
        assert [page["text"] for page in pages] == [f"number {n}\n\n" for n in range(1, 701)]
        assert [page["page"] for page in pages] == list(range(1, 701))
        assert (first["page_count"], first["truncated"], rest["truncated"]) == (700, True, False)

    async def test_odd_names_are_names(self, call: Call) -> None:
        """A file that is named like an option, or like standard input, is read."""
        files = (("-", pdf(shows("dash"))), ("-listenc", pdf(shows("option"))))
        for path, text in (("-", "dash\n\n"), ("-listenc", "option\n\n")):
            report = await call("pdf_text", {"path": path}, workspace=files)
            assert answer(report)["pages"] == [{"page": 1, "text": text}]


class TestHostile:
    """What a file can try."""

    async def test_control_characters_are_data(self, call: Call) -> None:
        """Escapes and bidi marks that a font makes up stay characters of that page's text."""
        file = pdf(shows("aAbBc"), means={b"A": "\x1b]0;x\x07", b"B": "\u202e\x00\x9b"})
        (page,) = answer(await read(call, file))["pages"]
        assert "\x1b]0;x\x07" in page["text"]
        assert "\x9b" in page["text"]

    async def test_a_form_feed_makes_no_page(self, call: Call) -> None:
        """A page whose text holds the sign that ends a page is still one page."""
        feed = {b"F": "x\fy"}
        file = pdf(shows("one F"), shows("two"), shows("three F F"), shows("four"), means=feed)
        assert [page["text"] for page in answer(await read(call, file))["pages"]] == [
            "one x\fy\n\n",
            "two\n\n",
            "three x\fy x\fy\n\n",
            "four\n\n",
        ]

    async def test_claimed_pages_stay_empty(self, call: Call) -> None:
        """Pages that the file only claims are empty; the others keep their number."""
        found = answer(await read(call, pdf(shows("one"), shows("two"), count=5)))
        assert [page["text"] for page in found["pages"]] == ["one\n\n", "two\n\n", "", "", ""]

    async def test_a_forged_count_is_not_taken(self, call: Call) -> None:
        """A title that looks like poppler's word on the number of pages is a title."""
        file = pdf(shows("one"), title="x\nPages:           77\n")
        assert answer(await read(call, file))["page_count"] == 1

    async def test_a_page_over_the_cap_is_cut(self, call: Call) -> None:
        """A page of more text than one answer holds comes back as far as it fits."""
        lines = b" ".join(shows("a" * 300, at=12 * row) for row in range(1, 160))
        many = {b"a": "\x01" * 8}
        report = await read(call, pdf(lines, shows("after"), means=many, side=3000))
        found = answer(report)
        assert (found["truncated"], found["page_count"]) == (True, 2)
        assert [page["page"] for page in found["pages"]] == [1]
        assert 800_000 < report.stdout.size_bytes <= 1_000_000

    async def test_a_bomb_of_nothing_is_empty(self, call: Call) -> None:
        """A stream that unpacks to 256 MiB of blanks is read piece by piece."""
        report = await read(call, pdf(deflated(b" " * 256 * MIB)))
        assert answer(report)["pages"] == [{"page": 1, "text": ""}]

    @pytest.mark.parametrize("filler", [b"[", b"q "], ids=["arrays", "states"])
    async def test_memory_is_a_limit(self, call: Call, filler: bytes) -> None:
        """Nesting without end takes poppler's memory, not the tool's word on it."""
        report = await read(call, pdf(deflated(filler * 20_000_000)))
        said = fault(report)
        assert report.cause is Cause.EXITED
        assert "pdftotext ended with signal" in said

    async def test_time_is_a_limit(self, call: Call) -> None:
        """A page that takes for ever ends with the call's deadline."""
        ever = deflated(b"q Q " * 10_000_000)
        workspace = (("x.pdf", pdf(*[ever] * 60)),)
        report = await call("pdf_text", {"path": "x.pdf"}, workspace=workspace, timeout_s=2)
        assert report.cause is Cause.TIMEOUT


class TestFaults:
    """What cannot be read is told in words."""

    @pytest.mark.parametrize(
        ("file", "word"),
        [
            (encrypted(), "opens with a password only"),
            (b"", "stream is empty"),
            (b"hello", "no PDF"),
            (pdf(shows("x"))[:300], "xref table"),
            (pdf(shows("x"), count=10**9), "no PDF"),
            (b"%PDF-1.4\n" + b"1 0 obj\n" * 500_000, "no PDF"),
        ],
        ids=["encrypted", "empty", "text", "cut", "a billion pages", "objects without end"],
    )
    async def test_unreadable_files(self, call: Call, file: bytes, word: str) -> None:
        """The tool fails in one line that says what is wrong with the file."""
        assert word in fault(await read(call, file))

    async def test_no_such_page(self, call: Call) -> None:
        """A first page behind the last one is said with the number there are."""
        report = await read(call, pdf(shows("x")), first_page=2)
        assert "no page 2: the file has 1" in fault(report)

    @pytest.mark.parametrize(("path", "word"), [("none.pdf", "No such file"), ("a", "is no file")])
    async def test_bad_path(self, call: Call, path: str, word: str) -> None:
        """A path that is not there, or a folder, fails and names the tool that shows what is."""
        said = fault(await call("pdf_text", {"path": path}))
        assert (word in said, "workspace_list" in said) == (True, True)
