"""`toolwarrant receipts verify-export`."""

import json
import os
from pathlib import Path

import pytest

from broker.cli.chain import verify_export
from broker.core.trust_root import write_trust_root
from broker.errors import ConfigurationError, ReceiptInvalid
from tests.verify.receipts import chain, new_signer, trust


@pytest.fixture
def envelopes(tmp_path: Path) -> list[bytes]:
    """A broker's first receipts; their trust root is the file `root`."""
    signer = new_signer(tmp_path / "receipt.key")
    (tmp_path / "root").write_text(write_trust_root(trust(signer)))
    return chain(signer)


def folder_of(envelopes: list[bytes], target: Path) -> Path:
    """Write an export of a file for each."""
    target.mkdir()
    for number, envelope in enumerate(envelopes, start=1):
        (target / f"{number:010d}-X.json").write_bytes(envelope)
    return target


def found(capsys: pytest.CaptureFixture[str]) -> tuple[object, object]:
    """Read verdict and place of what was printed."""
    report = json.loads(capsys.readouterr().out)
    return report["verdict"], report["broken_at"]


class TestVerifyExport:
    """`verify_export`."""

    def test_a_folder_is_read_in_order(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A whole export is valid, by its files' names."""
        target = folder_of(envelopes, tmp_path / "export")
        assert verify_export(target, tmp_path / "root", as_json=True) == 0
        assert found(capsys) == ("valid", None)

    def test_a_folder_with_proofs_is_read_by_its_receipts(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What `receipts export --out` wrote has other files besides: its receipts count."""
        (tmp_path / "export").mkdir()
        folder_of(envelopes, tmp_path / "export" / "receipts")
        (tmp_path / "export" / "trust-root.json").write_text("{}")
        assert verify_export(tmp_path / "export", tmp_path / "root", as_json=True) == 0
        assert found(capsys) == ("valid", None)

    def test_lines_are_read_in_order(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A whole export is valid, by its lines."""
        target = tmp_path / "export.jsonl"
        target.write_text("".join(json.dumps({"receipt": e.decode()}) + "\n" for e in envelopes))
        assert verify_export(target, tmp_path / "root", as_json=False) == 0
        assert capsys.readouterr().out.startswith("VALID: unbroken from the first receipt")

    def test_a_pipe_is_told(self, tmp_path: Path, envelopes: list[bytes]) -> None:
        """What is no ordinary file is refused: its reader would wait for ever."""
        target = folder_of(envelopes, tmp_path / "export")
        os.mkfifo(target / "9999999999-X.json")
        with pytest.raises(ConfigurationError, match="no ordinary file"):
            verify_export(target, tmp_path / "root", as_json=True)

    def test_a_missing_receipt_breaks_it(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What was taken out is noticed at the next entry."""
        target = folder_of(envelopes[:1] + envelopes[2:], tmp_path / "export")
        assert verify_export(target, tmp_path / "root", as_json=True) == 1
        assert found(capsys) == ("invalid", 2)

    def test_an_empty_export_shows_nothing(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing is not valid."""
        target = folder_of([], tmp_path / "export")
        assert verify_export(target, tmp_path / "root", as_json=True) == 3
        assert found(capsys) == ("indeterminate", None)

    def test_only_a_valid_export_has_a_head_to_keep(
        self, tmp_path: Path, envelopes: list[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody is told to keep the head of a broken export."""
        whole = folder_of(envelopes, tmp_path / "whole")
        verify_export(whole, tmp_path / "root", as_json=False)
        assert "keep it" in capsys.readouterr().out
        broken = folder_of(envelopes[:1] + envelopes[2:], tmp_path / "broken")
        verify_export(broken, tmp_path / "root", as_json=False)
        assert "keep it" not in capsys.readouterr().out

    @pytest.mark.parametrize("line", ["{", "[]", "3", "{}", '"receipt"', "[" * 200_000])
    def test_another_file_is_refused_by_line(
        self, tmp_path: Path, envelopes: list[bytes], line: str
    ) -> None:
        """A line that no export wrote is named."""
        good = json.dumps({"receipt": envelopes[0].decode()})
        (tmp_path / "export.jsonl").write_text(f"{good}\n{line}\n")
        with pytest.raises(ConfigurationError, match=r"export\.jsonl:2: is no line of"):
            verify_export(tmp_path / "export.jsonl", tmp_path / "root", as_json=True)

    def test_what_is_not_there_is_named(self, tmp_path: Path, envelopes: list[bytes]) -> None:
        """A missing file or trust root is told by its name."""
        assert envelopes
        with pytest.raises(ConfigurationError, match="absent: cannot be read"):
            verify_export(tmp_path / "absent", tmp_path / "root", as_json=True)
        with pytest.raises(ReceiptInvalid, match="trust_root"):
            verify_export(tmp_path / "absent", tmp_path / "receipt.key", as_json=True)

    def test_what_is_no_text_is_no_export(self, tmp_path: Path, envelopes: list[bytes]) -> None:
        """Bytes that are not UTF-8 are named by their line, like any other that is none."""
        (tmp_path / "export.jsonl").write_bytes(b"\x9f\n")
        with pytest.raises(ConfigurationError, match=r"export.jsonl:1: is no line"):
            verify_export(tmp_path / "export.jsonl", tmp_path / "root", as_json=True)
