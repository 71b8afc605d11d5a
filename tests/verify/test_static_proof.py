"""Proofs from a log's files alone: a folder, a web server, nothing else."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from broker.core.canonical import canonical_json
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.dsse import envelope
from broker.core.log_proof import read_log_proof
from broker.core.merkle import Frontier, leaf_hash
from broker.core.merkle_proof import check_inclusion
from broker.core.tiles import Tile, tiles_between, write_bundle
from broker.core.trust_root import write_trust_root
from broker.errors import ReceiptInvalid
from broker.verify.command import run
from broker.verify.log_folder import LogFolder
from broker.verify.log_site import LogSite
from broker.verify.static_proof import prove, prove_receipt
from tests.core import rfc6962
from tests.verify.log_vectors import INDEX, ORIGIN, Keys, all_vectors, entries_with, new_keys, raw


def write_tiles(folder: Path, entries: list[bytes]) -> None:
    """Write a log's tiles, as any log of this form has them."""
    size, read = len(entries), rfc6962.reader(entries)
    for tile in tiles_between(0, size):
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        own = entries[tile.start : tile.start + tile.width]
        path.write_bytes(write_bundle(own) if tile.level is None else b"".join(read(tile.nodes)))


def publish(folder: Path, entries: list[bytes], keys: Keys) -> bytes:
    """Write a log's files with its signed head; give that."""
    write_tiles(folder, entries)
    frontier, _ = Frontier.empty().extended(map(leaf_hash, entries))
    head = Checkpoint(origin=ORIGIN, size=len(entries), root=frontier.root)
    (folder / "checkpoint").write_bytes(sign_checkpoint(head, raw(keys.log), keys.log.sign))
    return frontier.root


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Give throw-away keys."""
    (tmp_path / "keys").mkdir()
    return new_keys(tmp_path / "keys")


@contextmanager
def website(folder: Path, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    """Serve a folder; give its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a word."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Elsewhere(Quiet):
    """Send readers to where the same files are."""

    def do_GET(self) -> None:
        if self.path.startswith("/there"):
            self.path = self.path.removeprefix("/there")
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("Location", f"/there{self.path}")
        self.end_headers()


class TestProve:
    @pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 600])
    def test_is_that_of_rfc_6962(self, keys: Keys, tmp_path: Path, size: int) -> None:
        """Of first, middle and last entries it is the path that the RFC words."""
        entries = rfc6962.entries_of(size)
        publish(tmp_path, entries, keys)
        for index in {0, size // 2, size - 1, min(255, size - 1), min(256, size - 1)}:
            found = read_log_proof(prove(index, LogFolder(tmp_path)))
            assert (found.index, found.hashes) == (index, rfc6962.path(index, entries))
            assert found.checkpoint == (tmp_path / "checkpoint").read_bytes()

    def test_three_levels(self, keys: Keys, tmp_path: Path) -> None:
        """A log with tiles of tiles of tiles gives proofs that hold."""
        entries = rfc6962.entries_of(65_536 + 700)
        root = publish(tmp_path, entries, keys)
        for index in (0, 65_535, 65_536, len(entries) - 1):
            found = read_log_proof(prove(index, LogFolder(tmp_path)))
            check_inclusion(
                index=index,
                size=len(entries),
                leaf=leaf_hash(entries[index]),
                proof=found.hashes,
                root=root,
            )

    @pytest.mark.parametrize(
        ("change", "step"),
        [
            (lambda tile: tile.unlink(), "tiles"),
            (lambda tile: tile.write_bytes(tile.read_bytes()[:-1]), "tiles"),
            (lambda tile: tile.write_bytes(tile.read_bytes() + b"x"), "tiles"),
        ],
        ids=["missing", "cut", "longer"],
    )
    def test_tile(
        self, keys: Keys, tmp_path: Path, change: Callable[[Path], object], step: str
    ) -> None:
        """A tile that is not there, or not whole, is told."""
        publish(tmp_path, rfc6962.entries_of(300), keys)
        assert prove(299, LogFolder(tmp_path))
        change(tmp_path / Tile(level=0, index=1, width=44).path)
        with pytest.raises(ReceiptInvalid) as caught:
            prove(299, LogFolder(tmp_path))
        assert caught.value.step == step

    def test_not_covered(self, keys: Keys, tmp_path: Path) -> None:
        """Of an entry behind the checkpoint there is no proof."""
        publish(tmp_path, rfc6962.entries_of(3), keys)
        with pytest.raises(ReceiptInvalid, match="covers 3 entries, none of index 3"):
            prove(3, LogFolder(tmp_path))

    def test_pipe(self, keys: Keys, tmp_path: Path) -> None:
        """What is no ordinary file is told: a pipe would keep its reader for ever."""
        publish(tmp_path, rfc6962.entries_of(3), keys)
        assert prove(2, LogFolder(tmp_path))
        for path in (Tile(level=0, index=0, width=3).path, "checkpoint"):
            (tmp_path / path).unlink()
            os.mkfifo(tmp_path / path)
            with pytest.raises((ReceiptInvalid, OSError), match="no ordinary file"):
                prove(2, LogFolder(tmp_path))

    @pytest.mark.parametrize("place", ["-1", "1_0", " 1", "\u0661", "9" * 5000])
    def test_no_place(self, keys: Keys, tmp_path: Path, place: str) -> None:
        """What a receipt names as its place is a number as its schema has it, or none."""
        publish(tmp_path, rfc6962.entries_of(20), keys)

        def naming(index: str) -> bytes:
            said = {"predicate": {"identity": {"index": index}}}
            return envelope(canonical_json(said), bytes(64))

        assert prove_receipt(naming("1"), LogFolder(tmp_path))
        with pytest.raises(ReceiptInvalid) as caught:
            prove_receipt(naming(place), LogFolder(tmp_path))
        assert caught.value.step == "log"


class TestSite:
    @pytest.mark.parametrize(
        ("first", "again"),
        [
            (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
            (b"HTTP/1.1 200 OK\r\n", b"x"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
        ],
        ids=["body", "header", "interim answers", "trailers"],
    )
    def test_without_end(self, first: bytes, again: bytes) -> None:
        """A server that goes on sending, never silent for long, is left when its time is over."""
        with sending(first, again) as url, pytest.raises(OSError, match="more than") as caught:
            LogSite(url, within_s=0.2).checkpoint()
        assert str(caught.value.filename) == f"{url}checkpoint"

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.invalid/log",
            "https://",
            "https://reader:word@example.invalid/",
            "https://example.invalid/?log=1",
            "https://example.invalid:x/",
        ],
    )
    def test_refused(self, url: str) -> None:
        """What is no log's prefix is refused before anybody is asked."""
        with pytest.raises(ValueError, match=r"give https://|[Pp]ort"):
            LogSite(url)


@contextmanager
def sending(first: bytes, again: bytes) -> Iterator[str]:
    """Be a server that sends something, then something else until its reader leaves."""

    class Endless(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            with suppress(OSError):
                self.request.sendall(first)
                while not done.wait(0.01):
                    self.request.sendall(again)

    done = threading.Event()
    with ThreadingTCPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        done.set()
        server.shutdown()


class TestCommand:
    """`--log`."""

    @pytest.fixture
    def logged(self, tmp_path: Path) -> Path:
        """Give the files of a receipt, with those of a log that has it."""
        vector = next(v for v in all_vectors(tmp_path) if v.name == "log/accept/in the log")
        (tmp_path / "receipt.json").write_bytes(vector.envelope)
        (tmp_path / "root.json").write_text(write_trust_root(vector.trust_root))
        (tmp_path / "log").mkdir()
        write_tiles(tmp_path / "log", entries_with(vector.envelope))
        assert vector.proof is not None
        (tmp_path / "log" / "checkpoint").write_bytes(read_log_proof(vector.proof).checkpoint)
        return tmp_path

    def verified(
        self, logged: Path, capsys: pytest.CaptureFixture[str], log: Path | str, out: str = ""
    ) -> tuple[int, str]:
        """Give exit code and place, or step."""
        code = run(
            logged / "receipt.json",
            logged / "root.json",
            log=log,
            output="json",
            proof_out=logged / out if out else None,
        )
        said = json.loads(capsys.readouterr().out)
        return code, said["log"]["index"] if said["log"] else said["step"]

    def test_folder(self, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The proof is made, verified and written; as a file it verifies by itself."""
        assert self.verified(logged, capsys, logged / "log", "made") == (0, str(INDEX))
        code = run(logged / "receipt.json", logged / "root.json", proof=logged / "made")
        assert code == 0

    def test_site(self, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A server of static files suffices; where it sends readers elsewhere nobody goes."""
        with website(logged / "log", Quiet) as url:
            assert self.verified(logged, capsys, url) == (0, str(INDEX))
        with website(logged / "log", Elsewhere) as url:
            assert run(logged / "receipt.json", logged / "root.json", log=url) == 2
        assert "the server said 302" in capsys.readouterr().err

    def test_another_log(self, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Tiles that are not those of the checkpoint prove nothing."""
        tile = next((logged / "log" / "tile" / "0").rglob("*.p/*"))
        data = tile.read_bytes()
        tile.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert self.verified(logged, capsys, logged / "log") == (1, "inclusion")

    def test_refused(self, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What contradicts itself, or is no log, is wrong usage."""
        receipt, root, log = logged / "receipt.json", logged / "root.json", logged / "log"
        assert run(receipt, root, log=log, proof=logged / "p") == 2
        assert run(receipt, root, proof_out=logged / "p") == 2
        assert run(receipt, root, log=logged) == 2
        assert run(receipt, root, log="http://example.invalid/log") == 2
        assert "https" in capsys.readouterr().err

    def test_next_step(self, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What cannot be read or written is told by its option, with what to give there."""
        receipt, root, log = logged / "receipt.json", logged / "root.json", logged / "log"
        assert run(receipt, root, log=logged / "absent") == 2
        assert "name a log's folder" in capsys.readouterr().err
        with website(log, Quiet) as url:
            pass
        assert run(receipt, root, log=url) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"--log {url.rstrip('/')}/checkpoint: cannot be read: ")
        assert "urlopen" not in said
        assert run(receipt, root, log=log, proof_out=root) == 2
        assert f"--proof-out {root}: File exists: name a new file" in capsys.readouterr().err
