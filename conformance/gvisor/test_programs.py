"""The tools that wrap a program, in gVisor."""

import pytest

from broker.core.call import Cause
from tests.sandbox import test_pdf_text, test_text_search
from tests.sandbox.bench import Call
from tests.sandbox.pdfs import deflated, pdf


class TestTextSearchBounds(test_text_search.TestBounds):
    """text_search within its bounds, on runsc."""


class TestTextSearchFaults(test_text_search.TestFaults):
    """What text_search refuses, on runsc."""


class TestTextSearchLinks(test_text_search.TestLinks):
    """Where text_search does not follow, on runsc."""


class TestPdfHostile(test_pdf_text.TestHostile):
    """Documents that attack pdf_text, on runsc."""

    @pytest.mark.parametrize("filler", [b"[", b"q "], ids=["arrays", "states"])
    async def test_memory_is_a_limit(self, call: Call, filler: bytes) -> None:
        """Nesting without end takes the sandbox's memory, and ends all of it."""
        document = pdf(deflated(filler * 20_000_000))
        report = await test_pdf_text.read(call, document)
        assert (report.cause, report.limits_hit) == (Cause.MEMORY, ("memory",))
        assert report.stdout.data == b""


class TestPdfFaults(test_pdf_text.TestFaults):
    """What pdf_text refuses, on runsc."""
