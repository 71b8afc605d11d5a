"""OpenSSL, cosign and the DSSE authors' Go package on every vector of a receipt.

For each program a table says which classes of vectors it can judge. Where it can, its word is ours;
where it cannot, it accepts, as nothing that it looks at is wrong: so a program that comes to see
more, or less, is noticed here.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.core.trust_root import read_trust_root
from broker.verify.verdict import Validity
from conformance.receipts.judges import cosign, fields_of, go_dsse, openssl, pems
from conformance.tools import ACCEPT, REJECT
from tests.verify.suite import Record, records
from tests.verify.vectors import Vector

# OpenSSL is given what was signed: nothing but the signature can be wrong.
OPENSSL = ("signature/",)
GO_DSSE = (
    *OPENSSL,
    "envelope/empty",
    "envelope/not JSON",
    "envelope/no object",
    "envelope/keyid",  # it names keys by another digest
    "envelope/no signature",
    "envelope/signature not a string",
    "envelope/signatures not a list",
    "envelope/empty signature",
    "envelope/empty payload",
    "envelope/payload type not a string",
    "envelope/unpadded base64",
    "envelope/url-safe base64",
)
COSIGN = (
    *(name for name in GO_DSSE if name != "envelope/unpadded base64"),
    "envelope/line end in base64",
    "envelope/two signatures",
    "envelope/unknown field",
    "type/",
    "canonical/not JSON",
    "canonical/no object",
    "canonical/duplicate key",
    "statement/other predicate type",
    "shape/no subject",
    "shape/unknown field",
    "subjects/other digest",
    "documents/bit of the request",
    "documents/same request with another salt",
    "documents/empty request",
)


def vector_of(record: Record) -> Vector:
    """Read a kept vector."""
    request = record["request"]
    return Vector(
        name=record["name"],
        envelope=record["envelope"].encode(),
        trust_root=read_trust_root(json.dumps(record["trust_root"]).encode()),
        request=None if request is None else request.encode(),
        validity=Validity[record["verdict"].upper()],
        step=record["step"],
    )


@pytest.fixture(scope="module")
def vectors() -> list[Vector]:
    """Give every kept vector of a receipt, of those with proofs as well."""
    kept = [each for each in records() if each.get("check", "receipt") == "receipt"]
    found = [vector_of(record) for record in kept]
    assert len(found) > 170
    return found


def expected(vectors: Sequence[Vector], judged: tuple[str, ...]) -> Mapping[str, str]:
    """Say what a program has to answer that can judge these classes."""
    return {each.name: REJECT if each.name.startswith(judged) else ACCEPT for each in vectors}


def with_keys(vectors: Sequence[Vector]) -> list[Vector]:
    """Leave out those whose trust root has no receipt key: there is nobody to verify by."""
    return [vector for vector in vectors if pems(vector.trust_root)]


def test_openssl(vectors: list[Vector], tmp_path: Path) -> None:
    """What OpenSSL finds signed we find signed, whatever else is wrong with it."""
    asked = [each for each in with_keys(vectors) if _is_whole(each)]
    answers = {each.name: openssl(each, tmp_path) for each in asked}
    assert answers == expected(asked, OPENSSL)
    assert len(asked) > 150


def _is_whole(vector: Vector) -> bool:
    """Tell whether there is something that was signed, and a signature, to hand to OpenSSL."""
    return fields_of(vector) is not None and not vector.name.startswith("envelope/")


def test_go_dsse(vectors: list[Vector]) -> None:
    """The Go package takes every envelope of ours, and none that is no DSSE or not signed."""
    asked = with_keys(vectors)
    answers = dict(zip([each.name for each in asked], go_dsse(asked), strict=True))
    assert answers == expected(asked, GO_DSSE)


@pytest.mark.timeout(900)
def test_cosign(vectors: list[Vector], tmp_path: Path) -> None:
    """Cosign takes every receipt of ours, and none that has another type, signer or request."""
    asked = [
        each
        for each in with_keys(vectors)
        # Of receipts with proofs it judges nothing but the receipt: one of them is enough.
        if _is_json(each) and (not each.name.startswith("log/") or each.name == _LOGGED)
    ]
    for place in range(len(asked)):
        (tmp_path / str(place)).mkdir()
    with ThreadPoolExecutor(2) as threads:
        folders = [tmp_path / str(place) for place in range(len(asked))]
        answers = list(threads.map(cosign, asked, folders))
    found = dict(zip([each.name for each in asked], answers, strict=True))
    assert found == expected(asked, COSIGN)
    assert len(asked) > 90


_LOGGED = "log/accept/in the log"


def _is_json(vector: Vector) -> bool:
    """Tell whether an envelope can be put into a bundle at all."""
    try:
        return isinstance(json.loads(vector.envelope), dict)
    except ValueError:
        return False


def test_none_accepts_what_we_refuse_for_their_reasons(vectors: list[Vector]) -> None:
    """Each class of refused vectors is judged by some program, or is ours alone, as listed."""
    ours = {"canonical", "shape", "key", "subjects", "outcome", "documents", "validity", "receipt"}
    judged = {name.split("/")[0] for name in COSIGN}
    classes = {
        each.name.split("/")[0]
        for each in vectors
        if each.validity is not Validity.VALID and not each.name.startswith("log/")
    }
    assert classes == judged | ours
