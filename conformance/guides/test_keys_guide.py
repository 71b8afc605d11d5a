"""docs/keys.md, followed by operators of a production set: openssl is their authority and roots."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker_process import PROGRAM
from tests.docs.fences import Block, Ran, Reader, blocks_of, clean_environment, free_address

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "keys.md"
# Some twenty starts of the program, which a machine that does more than this takes its time for.
pytestmark = pytest.mark.timeout(600)
INIT = "toolwarrant init prod --production"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ran]]:
    """Each block of commands with what it came to; ends with the first that fails."""
    typed = {INIT: f'{INIT} --listen {free_address()} --metrics ""'}
    path = {"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    reader = Reader(tmp_path_factory.mktemp("keys"), typed, {**clean_environment(), **path})
    ran: list[Ran] = []
    try:
        for block in blocks_of(GUIDE):
            if block.language != "bash":
                continue
            if "keys rotate" in block.text:
                reader.leave()
            ran.append(reader.follow(block))
            if ran[-1].code != 0:
                break
        yield ran
    finally:
        reader.leave()


def _of(followed: list[Ran], words: str) -> Ran:
    found = [ran for ran in followed if words in ran.block.text]
    assert found, f"no block that ran says {words!r}"
    return found[0]


class TestGuide:
    def test_every_block_works(self, followed: list[Ran]) -> None:
        """Each block of commands ends with exit code 0, in the order of the page."""
        failed = [(ran.block.text, ran.code, ran.out, ran.err) for ran in followed if ran.code]
        assert failed == []
        assert len(followed) == len([b for b in blocks_of(GUIDE) if _is_typed(b)])

    def test_doctor_says_what_is_to_be_done(self, followed: list[Ran]) -> None:
        """Before others signed it names the request, the signatures, the identities."""
        before = _of(followed, "toolwarrant init prod").out
        assert "FAIL  certificates: " in before
        assert "pki/server.csr, names and all" in before
        assert "2 more root keys have to sign it" in before
        assert "warn  identities: nobody may call" in before
        assert "exit code 1" in before
        after = _of(followed, "mkdir -p clients/pki").out
        assert ("FAIL" in after, "development" in after) == (False, False)

    def test_old_receipts_stay_valid_by_their_place(self, followed: list[Ran]) -> None:
        """After the rotation: valid with the proof, undecided without."""
        out = _of(followed, "--trusted readers-trust-root.json").out
        assert "VALID: version 2 of the trust root" in out
        assert "VALID: the receipt is genuine" in out
        assert "exit code 3" in out


def _is_typed(block: Block) -> bool:
    return block.language == "bash"
