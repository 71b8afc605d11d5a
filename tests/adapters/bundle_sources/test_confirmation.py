"""What is kept of the last confirmation."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.adapters.bundle_sources import ConfirmationFile
from broker.ports import Confirmation
from tests.ports import samples

KEPT = Confirmation(bundle_sha256=samples.digest("bundle"), at=datetime(2026, 1, 2, 3, tzinfo=UTC))
WHOLE = '{"bundle_sha256": "ab", "confirmed_at": "2026-01-02T03:04:05Z"}'


def files(folder: Path) -> list[Path]:
    """List a folder."""
    return list(folder.iterdir())


class TestConfirmationFile:
    async def test_read_back(self, tmp_path: Path) -> None:
        """What is written last is read by the next life, and nothing is left beside it."""
        file = tmp_path / "confirmed"
        await ConfirmationFile(file).write(
            Confirmation(bundle_sha256=samples.digest("old"), at=KEPT.at)
        )
        await ConfirmationFile(file).write(KEPT)
        assert await ConfirmationFile(file).read() == KEPT
        assert files(tmp_path) == [file]

    async def test_nothing(self, tmp_path: Path) -> None:
        """Where nothing was written there is nothing."""
        assert await ConfirmationFile(tmp_path / "none").read() is None

    async def test_whole(self, tmp_path: Path) -> None:
        """The text that the damaged ones differ from is read."""
        (tmp_path / "confirmed").write_text(WHOLE)
        assert await ConfirmationFile(tmp_path / "confirmed").read() is not None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            WHOLE[:-1],
            "[]",
            "null",
            WHOLE.replace("confirmed_at", "at"),
            WHOLE.replace("bundle_sha256", "sha"),
            WHOLE.replace('"2026-01-02T03:04:05Z"', "3"),
            WHOLE.replace("05Z", "05"),
            WHOLE.replace("05Z", "05+02:00"),
            WHOLE.replace("2026", "20-6"),
            "\N{SNOWMAN}",
        ],
    )
    async def test_damaged(self, tmp_path: Path, text: str) -> None:
        """What is not whole says nothing: the policy counts as never confirmed."""
        (tmp_path / "confirmed").write_text(text)
        assert await ConfirmationFile(tmp_path / "confirmed").read() is None

    async def test_unwritable(self, tmp_path: Path) -> None:
        """A confirmation that cannot be kept is said, the one before is still there."""
        file = tmp_path / "confirmed"
        await ConfirmationFile(file).write(KEPT)
        (tmp_path / f".confirmed.{os.getpid()}.new").mkdir()
        with pytest.raises(OSError, match="Is a directory"):
            await ConfirmationFile(file).write(
                Confirmation(bundle_sha256=samples.digest("new"), at=KEPT.at)
            )
        assert await ConfirmationFile(file).read() == KEPT
