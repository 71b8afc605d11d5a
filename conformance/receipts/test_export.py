"""The commands of an export's VERIFY.md, typed by a stranger with other people's programs."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.cli.evidence import write_evidence
from broker.core.canonical import canonical_json
from broker.core.dsse import IN_TOTO, envelope, pae
from broker.core.sigstore import sigstore_bundle
from conformance.tools import installed, tool
from tests.conftest import ServeOne
from tests.docs.fences import blocks_of
from tests.verify.receipts import new_signer


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the stranger's programs are."""
    for name in ("jq", "openssl", "sha256sum", "go"):
        installed(name)
    own = tmp_path_factory.mktemp("programs") / "toolwarrant-verify"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m broker.verify.program "$@"\n')
    own.chmod(0o755)
    return f"{own.parent}:{Path(tool('cosign')).parent}:{os.environ['PATH']}"


@pytest.fixture
def evidence(serve: ServeOne, tmp_path: Path) -> Path:
    """An export of a run and a denial."""
    served = serve()
    agent = served.client("agent")
    agent.call("python_run", {"code": "print(6 * 7)"})
    agent.call("workspace_read", {"path": ".env"})
    out = tmp_path / "evidence"
    made = write_evidence(out, served.client("auditor"), calls=(), after=0, trust_root=None)
    assert (made.receipts, made.masked) == (2, 0)
    return out


def follow(folder: Path, path: str) -> list[list[str]]:
    """Type each block; give what each refused."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "HOME": str(folder.parent)}
    # A cache of Go's own would be built anew in another home.
    environment |= {name: _go(name) for name in ("GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB")}
    refused = []
    for block in blocks_of(folder / "VERIFY.md"):
        assert block.language == "sh"
        done = subprocess.run(
            ["bash", "-uo", "pipefail", "-c", block.text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert "not found" not in done.stderr, done.stderr
        refused.append(re.findall(r"^REFUSED \S+", done.stdout, re.MULTILINE))
    return refused


def _go(name: str) -> str:
    return subprocess.check_output([installed("go"), "env", name], text=True).strip()


def _flip(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, file
    file.write_text(text.replace(old, new, 1))


SIGNATURE, DOCUMENTS, COSIGN, LOG, OWN = range(5)


def _spoil_receipt(folder: Path) -> None:
    first, _ = sorted((folder / "receipts").iterdir())
    _flip(first, '"sig":"', '"sig":"AAAA')


def _spoil_document(folder: Path) -> None:
    first = min((folder / "documents").glob("*.request.json"))
    _flip(first, "6 * 7", "6 * 8")


def _spoil_result(folder: Path) -> None:
    (result,) = (folder / "documents").glob("*.result.json")
    _flip(result, "42", "43")


def _spoil_bundle(folder: Path) -> None:
    first = min((folder / "bundles").iterdir())
    _flip(first, '"sig":"', '"sig":"AAAA')


def _swap_proofs(folder: Path) -> None:
    first, second = sorted((folder / "proofs").iterdir())
    texts = first.read_text(), second.read_text()
    first.write_text(texts[1])
    second.write_text(texts[0])


def _forge_key(folder: Path) -> None:
    (pem,) = (folder / "keys").glob("*.pem")
    key = subprocess.check_output(["openssl", "genpkey", "-algorithm", "ed25519"])
    pem.write_bytes(
        subprocess.run(
            ["openssl", "pkey", "-pubout"], input=key, check=True, capture_output=True
        ).stdout
    )


def _plant_key(folder: Path) -> None:
    """Put a receipt in, good under a key that lies where nobody compares keys."""
    first, _ = sorted((folder / "receipts").iterdir())
    signer = new_signer(folder / "private")
    (folder / "private").unlink()
    (folder / "bundles/planted.pem").write_text(signer.public_key_pem)
    said = json.loads(base64.b64decode(json.loads(first.read_text())["payload"]))
    said["predicate"]["key_id"] = "../bundles/planted"
    payload = canonical_json(said)
    forged = envelope(payload, signer.sign(pae(IN_TOTO, payload)))
    first.write_bytes(forged)
    bundle = sigstore_bundle(forged, signer.key_id)
    (folder / f"bundles/{first.stem}.sigstore.json").write_bytes(bundle)


def _plant_result(folder: Path) -> None:
    """Put in what a call gave that never ran."""
    (result,) = (folder / "documents").glob("*.result.json")
    *_, denied = sorted((folder / "documents").glob("*.request.json"))
    shutil.copy(result, str(denied).replace("request", "result"))


SPOILT: dict[Callable[[Path], None], set[int]] = {
    _spoil_receipt: {SIGNATURE, LOG, OWN},
    _spoil_document: {DOCUMENTS, COSIGN},
    _spoil_result: {DOCUMENTS},
    _spoil_bundle: {COSIGN},
    _swap_proofs: {LOG, OWN},
    _forge_key: {SIGNATURE, COSIGN},
    _plant_key: {SIGNATURE, COSIGN, LOG, OWN},
    _plant_result: {DOCUMENTS},
}
"""What is changed in an export, with whose commands see it."""


@pytest.mark.timeout(900)
def test_its_commands(evidence: Path, path: str, tmp_path: Path) -> None:
    """All accept what was exported; what was changed is refused by whoever looks at it."""
    good = shutil.copytree(evidence, tmp_path / "good")
    before = sorted(good.rglob("*"))
    assert follow(good, path) == [[], [], [], [], []]
    assert sorted(good.rglob("*")) == before
    for number, (spoil, seen_by) in enumerate(SPOILT.items()):
        changed = shutil.copytree(evidence, tmp_path / f"changed-{number}")
        spoil(changed)
        refused = {place for place, lines in enumerate(follow(changed, path)) if lines}
        assert refused == seen_by, spoil.__name__
