"""Make vectors of audits of a log's folder, with their states; as a program, write them anew.

The state of an audit is the auditor's own, so its form is nobody else's to read: what is kept here
is which of them an audit may go on from.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.core.merkle import leaf_hash
from broker.core.tiles import tiles_between, write_bundle
from broker.core.trust_root import KeyRole, TrustRoot
from broker.ports import Signer
from broker.verify.audit import verify_log
from tests.core import rfc6962
from tests.verify.log_vectors import checkpoint_of, trusted
from tests.verify.mixed_log import MixedLog
from tests.verify.mixed_vectors import plain
from tests.verify.seeded import seeded
from tests.verify.text_vectors import ORIGIN, Vector, b64
from tests.verify.vector_file import keep

FILE = Path(__file__).parent.parent / "vectors/audits.json"
_FIRST = 4
Change = Callable[[dict[str, object]], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What signs, one log with an earlier head, and the vectors that came of it so far."""

    receipt: Signer
    log: Signer
    vectors: list[Vector] = field(default_factory=list)

    @property
    def root(self) -> TrustRoot:
        """Give what readers trust."""
        keys = trusted(KeyRole.RECEIPT, self.receipt), trusted(KeyRole.LOG, self.log)
        return TrustRoot(version=2, keys=keys)

    def entries(self, boot: str = "1") -> list[bytes]:
        """Make a log; with another word it forks from the first entry on."""
        log = MixedLog(signer=self.receipt)
        log.tell("broker.started", boot=boot)
        log.begin(1)
        log.end(2, "denied")
        log.batch()
        log.tell("halt.set", halt="AAAA", scope="all")
        return log.entries

    def head(self, entries: list[bytes], size: int | None = None) -> bytes:
        """Sign the head of a log's first entries."""
        return checkpoint_of(entries[:size], self.log)

    def state(self, entries: list[bytes], size: int = _FIRST) -> bytes:
        """Keep how far an audit of a log's first entries came."""
        kept: list[bytes] = []
        verify_log(self.head(entries, size), entries[:size], self.root, save=kept.append)
        return kept[-1]

    def audit(
        self, name: str, verdict: str = "valid", step: str | None = None, **changed: object
    ) -> None:
        """Keep an audit with what must come of it."""
        entries = self.entries()
        self.vectors.append(
            {
                "name": f"audit/{name}",
                "check": "audit",
                "files": files_of(entries, self.head(entries)),
                "trust_root": plain(self.root),
                "state": None,
                "kept": None,
                "workers": 1,
                **changed,
                "verdict": verdict,
                "step": step,
            }
        )


def files_of(entries: list[bytes], checkpoint: bytes) -> dict[str, str]:
    """Lay a log out in files, as base64."""
    read = rfc6962.reader(entries)
    files = {"checkpoint": b64(checkpoint)}
    for tile in tiles_between(0, len(entries)):
        own = entries[tile.start : tile.start + tile.width]
        data = write_bundle(own) if tile.level is None else b"".join(read(tile.nodes))
        files[tile.path] = b64(data)
    return files


def all_vectors(folder: Path) -> list[Vector]:
    """List every vector."""
    made = Made(receipt=seeded(folder, "receipt"), log=seeded(folder, "log"))
    _folders(made)
    _resumed(made)
    _states(made)
    return made.vectors


def _folders(made: Made) -> None:
    entries = made.entries()
    files = files_of(entries, made.head(entries))
    bundle = f"tile/entries/000.p/{len(entries)}"
    without = {name: text for name, text in files.items() if name != bundle}
    for workers in (1, 2):
        made.audit(f"accept/whole, by {workers}", workers=workers)
        made.audit(f"no entries, by {workers}", "invalid", "tiles", files=without, workers=workers)
    hashes = b"".join(map(leaf_hash, [*entries[:-1], b"another"]))
    changed = {**files, f"tile/0/000.p/{len(entries)}": b64(hashes)}
    made.audit("hash of another entry", "invalid", "tiles", files=changed)


def _resumed(made: Made) -> None:
    """An audit goes on from an earlier one of this very log, or says what is wrong."""
    entries, fork = made.entries(), made.entries("2")
    state = made.state(entries).decode()
    made.audit("accept/goes on", state=state)
    unread = files_of(entries, made.head(entries))
    del unread[f"tile/0/000.p/{len(entries)}"]
    made.audit("no hashes behind the state", "invalid", "tiles", state=state, files=unread)
    for name, kept_of, step in (("accept/goes on", entries, None), ("of a fork", fork, "tree")):
        made.vectors.append(
            {
                "name": f"audit without tiles/{name}",
                "check": "log",
                "checkpoint": b64(made.head(entries)),
                "envelopes": [entry.decode() for entry in entries],
                "leaves": None,
                "kept": None,
                "witness_quorum": 0,
                "trust_root": plain(made.root),
                "state": made.state(kept_of).decode(),
                "verdict": "invalid" if step else "valid",
                "step": step,
            }
        )
    head, first = made.head(entries), made.head(entries, _FIRST)
    both = files_of(entries[:_FIRST], first) | files_of(entries, head)
    made.audit("accept/from the first head on", first=b64(first), files=both)
    made.audit("state of a fork", "invalid", "state", state=made.state(fork).decode())
    broken = [*entries[:_FIRST], b"?", *entries[_FIRST + 1 :]]
    files = files_of(broken, made.head(broken))
    made.audit("broken behind the state", "invalid", "envelope", state=state, files=files)
    made.audit(
        "accept/goes on from the head kept", state=state, kept=b64(made.head(entries, _FIRST))
    )
    made.audit(
        "head kept of a fork", "invalid", "kept", state=state, kept=b64(made.head(fork, _FIRST))
    )
    made.audit("past the head kept", "unusable", None, state=state, kept=b64(made.head(entries, 2)))
    longer = MixedLog(signer=made.receipt)
    for _ in range(len(entries) + 1):
        longer.tell("key.in_use")
    ahead = made.state(longer.entries, len(longer.entries))
    made.audit("ahead of the log", "unusable", None, state=ahead.decode())
    made.audit("no state", "unusable", None, state="")


def _states(made: Made) -> None:
    """What is no state of this log, under this trust root, is not gone on from."""
    state = json.loads(made.state(made.entries()))
    root = state["trust_root"]
    intents = state["intents"]
    (call,) = intents
    calls = state["ended"]

    def put(**changed: object) -> str:
        return json.dumps({**state, **changed})

    for name, text in {
        "of an earlier form": put(schema="toolwarrant.audit-state/v1"),
        "of another log": put(origin="toolwarrant.invalid/another"),
        "of another trust root of this version": put(trust_root={**root, "sha256": "0" * 64}),
        "of an earlier trust root": put(trust_root={"version": 1, "sha256": "0" * 64}),
        "of a later trust root": put(trust_root={**root, "version": 3}),
        "not whole": json.dumps({k: v for k, v in state.items() if k != "ended"}),
        "size that is none": put(size=True),
        "size in digits": put(size=str(_FIRST)),
        "size below none": put(size=-1),
        "tree that is no list": put(tree={}),
        "tree of another size": put(tree=[]),
        "counts that are no object": put(counts=[]),
        "intent without a run": put(intents={call: {"index": 2}}),
        "intent with more": put(intents={call: {**intents[call], "run": {"more": ""}}}),
        "call cut short": put(ended=b64(base64.b64decode(calls)[:-1])),
        "call twice": put(ended=b64(base64.b64decode(calls) * 2)),
        "epoch in digits": put(epoch="1"),
        "waiting that is no list": put(waiting={}),
        "calls that are no base64": put(ended="?"),
        "not JSON": "state",
    }.items():
        _state(made, name, text, "unusable")
    _state(made, "accept/whole", json.dumps(state), "valid")
    for version in (1, 3):
        root = replace(made.root, version=version)
        _state(made, f"under version {version}", json.dumps(state), "unusable", root)


def _state(made: Made, name: str, text: str, verdict: str, root: TrustRoot | None = None) -> None:
    """Keep a state with whether an audit under this trust root may go on from it."""
    made.vectors.append(
        {
            "name": f"audit's state/{name}",
            "check": "state",
            "text": b64(text.encode()),
            "origin": ORIGIN,
            "trust_root": plain(root or made.root),
            "verdict": verdict,
            "step": None,
        }
    )


if __name__ == "__main__":
    keep(FILE, all_vectors)
