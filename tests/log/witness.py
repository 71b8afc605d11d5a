"""Witness logs over HTTP as C2SP tlog-witness words it, without a line of the broker's."""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Reply = tuple[int, str, bytes]
"""Status, content type, body."""

TEXT = "text/plain"
SIZE = "text/x.tlog.size"


class Refused(Exception):
    """The witness does not cosign."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass
class HttpWitness:
    """A witness on a port of its own; use it in `with`.

    Set `lie` to change what it answers: it is given the request with the honest answer, which the
    witness has remembered by then. Clear `gate` to let it hang; `asked` is set with each question.

    Args:
        logs: Origin with the log's raw Ed25519 key.
    """

    logs: dict[str, bytes]
    name: str = "witness.test/1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    known: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    questions: list[bytes] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    lie: Callable[[bytes, Reply], Reply] | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.time
    port: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def __enter__(self) -> Self:
        """Listen."""
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code, kind, answer = witness.answer(self.path, body)
                with suppress(OSError):
                    self.send_response(code)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go away; what was remembered stays."""
        assert self._server is not None
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Its submission prefix."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def public_key(self) -> bytes:
        """The raw public key."""
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def vkey(self) -> str:
        """What its operator tells people."""
        key = b"\x04" + self.public_key
        return f"{self.name}+{self._key_id().hex()}+{base64.b64encode(key).decode()}"

    def answer(self, path: str, body: bytes) -> Reply:
        """Answer a request."""
        self.asked.set()
        self.gate.wait()
        with self._turn:
            self.questions.append(body)
            try:
                reply = self._add_checkpoint(path, body)
            except Refused as refused:
                reply = refused.reply
            if self.lie is not None:
                reply = self.lie(body, reply)
            self.codes.append(reply[0])
            return reply

    def cosign(self, text: bytes, *, at_s: float | None = None) -> bytes:
        """Write a line of a note over its text."""
        now = int(self.clock() if at_s is None else at_s)
        signature = self.key.sign(b"cosignature/v1\ntime %d\n" % now + text)
        blob = self._key_id() + now.to_bytes(8, "big") + signature
        return f"\u2014 {self.name} {base64.b64encode(blob).decode()}\n".encode()

    def _key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n\x04" + self.public_key).digest()[:4]

    def _add_checkpoint(self, path: str, body: bytes) -> Reply:
        if path != "/add-checkpoint":
            raise Refused((404, TEXT, b"no such page\n"))
        head, _, note = body.partition(b"\n\n")
        first, *lines = head.decode().split("\n")
        old = int(first.removeprefix("old "))
        proof = [base64.b64decode(line) for line in lines]
        text, _, signatures = note.partition(b"\n\n")
        text += b"\n"
        origin, count, root = text.decode().splitlines()[:3]
        size, new = int(count), base64.b64decode(root)
        if origin not in self.logs:
            raise Refused((404, TEXT, b"unknown log\n"))
        if not self._is_by_log(origin, text, signatures):
            raise Refused((403, TEXT, b"unknown key\n"))
        known, then = self.known.get(origin, (0, hashlib.sha256().digest()))
        if old > size:
            raise Refused((400, TEXT, b"old size above size\n"))
        if old != known or (old == size and new != then):
            raise Refused((409, SIZE, b"%d\n" % known))
        if not grew(old, then, size, new, proof):
            raise Refused((422, TEXT, b"not consistent\n"))
        self.known[origin] = (size, new)
        return 200, TEXT, self.cosign(text)

    def _is_by_log(self, origin: str, text: bytes, signatures: bytes) -> bool:
        public = Ed25519PublicKey.from_public_bytes(self.logs[origin])
        for line in signatures.decode().splitlines():
            dash, name, encoded = line.split(" ")
            if dash == "\u2014" and name == origin:
                try:
                    public.verify(base64.b64decode(encoded)[4:], text)
                except InvalidSignature:
                    continue
                return True
        return False


def grew(old: int, then: bytes, size: int, new: bytes, proof: list[bytes]) -> bool:
    """Verify a consistency proof by undoing RFC 6962 §2.1.2, recursively."""
    if old in (0, size):
        return not proof and (old == 0 or then == new)
    left = list(proof)
    try:
        found = _roots(old, size, True, then, left)
    except IndexError:
        return False
    return not left and found == (then, new)


def _roots(m: int, n: int, is_whole: bool, then: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    if m == n:
        found = then if is_whole else proof.pop()
        return found, found
    k = 1
    while k * 2 < n:
        k *= 2
    sibling = proof.pop()
    if m <= k:
        old, new = _roots(m, k, is_whole, then, proof)
        return old, hashlib.sha256(b"\x01" + new + sibling).digest()
    old, new = _roots(m - k, n - k, False, then, proof)
    return (
        hashlib.sha256(b"\x01" + sibling + old).digest(),
        hashlib.sha256(b"\x01" + sibling + new).digest(),
    )
