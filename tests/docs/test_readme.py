"""The README, followed from top to bottom by a reader who types what it says."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from tests.broker_process import DOCKER_URL
from tests.docs.fences import Block, Ran, Reader, blocks_of, clean_environment, free_address

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LISTEN = "127.0.0.1:7443"
INIT = "toolwarrant init dev\n"
TOOL_IMAGE = "toolwarrant/word_count:1.0.0"


def _executed(block: Block) -> bool:
    return block.language in {"bash", "python"} and not block.text.startswith("make ")


def _checkout(folder: Path) -> Path:
    """Lay out what the README's commands use of a checkout, without its history."""
    for name in ("policies_rego", "sandbox_images", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def _remove_image() -> None:
    engine = docker.APIClient(DOCKER_URL)
    try:
        engine.remove_image(TOOL_IMAGE)
    except ImageNotFound:
        pass
    finally:
        engine.close()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ran]]:
    """Each executed block with what it came to; ends with the first that fails."""
    address = free_address()
    # Only where the broker listens differs: other brokers run on this machine.
    typed = {INIT: f'toolwarrant init dev --listen {address} --metrics ""\n', LISTEN: address}
    folder = _checkout(tmp_path_factory.mktemp("readme"))
    reader = Reader(folder, typed, clean_environment())
    ran: list[Ran] = []
    try:
        for block in filter(_executed, blocks_of(README)):
            ran.append(reader.follow(block))
            if ran[-1].code != 0:
                break
        yield ran
    finally:
        reader.leave()
        _remove_image()


def _of(followed: list[Ran], words: str) -> Ran:
    found = [ran for ran in followed if words in ran.block.text]
    assert found, f"no block that ran says {words!r}"
    return found[0]


class TestReadme:
    def test_every_block_works(self, followed):
        """Each block of commands ends with exit code 0, in the order of the page."""
        failed = [(ran.block.text, ran.code, ran.out, ran.err) for ran in followed if ran.code]
        assert failed == []
        assert len(followed) == len([block for block in blocks_of(README) if _executed(block)])

    def test_what_is_typed_elsewhere_is_in_it(self):
        """The address and the first command stand in the page as the test replaces them."""
        text = README.read_text()
        assert (text.count(INIT), LISTEN in text) == (1, True)

    def test_the_first_example_has_six_lines(self):
        """The Python example stays as short as it is promised to be."""
        python = [block.text for block in blocks_of(README) if block.language == "python"]
        assert [len(text.splitlines()) <= 6 for text in python] == [True]

    @pytest.mark.parametrize(
        ("words", "out"),
        [
            ("code='print(6 * 7)'", "42\n"),
            ("from broker.client import Client", " 42\n"),
            ("127.0.0.1:7443 list", "broker.v1.ApprovalService\n"),
            ("ExecuteTool", '"state": "CALL_STATE_SUCCEEDED"'),
            ("path=.env", "exit code 3"),
            ("path=notes.txt --session docs ||", "exit code 4"),
            ("holds approve", "END OF THE VIEW"),
            ("RejectCall", '"state": "CALL_STATE_REJECTED"'),
            ("tools validate", "word_count@1.0.0"),
            ("policy test dev/policy", "100.0 %  teams/docs"),
            ("call word_count", '{"words": 3}'),
            ("--as approver2", "1 security"),
            ("receipts verify ", "VALID: the receipt is genuine"),
            ("verify-export", "VALID"),
            ("openssl pkeyutl", "Signature Verified Successfully"),
        ],
    )
    def test_it_shows_what_it_promises(self, followed, words, out):
        """A block's output says what the text around it says."""
        assert out in _of(followed, words).out

    def test_make_has_the_two_commands(self):
        """`make demo` and `make test` are there."""
        (block,) = [block for block in blocks_of(README) if block.text.startswith("make ")]
        assert block.text == "make demo\nmake test\n"
        for line in block.text.splitlines():
            argv = ["make", "--dry-run", line.removeprefix("make ")]
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
            assert done.returncode == 0

    def test_its_links_lead_somewhere(self):
        """Every file that the page links to is there."""
        links = [part.split(")")[0] for part in README.read_text().split("](")[1:]]
        assert [link for link in links if not (ROOT / link).exists()] == []
