"""The kept vectors, of every kind: each comes to its verdict, each that is refused has a twin."""

import json

import pytest

from tests.verify import mixed_vectors, root_vectors, state_vectors, text_vectors
from tests.verify.suite import VECTORS, Record, expected, inputs, judge, records

RECORDS = records()
ACCEPTED = [record for record in RECORDS if record["verdict"] == "valid"]
TEXTS = records("texts.json")
MADE_ANEW = {
    "mixed_logs.json": mixed_vectors.all_vectors,
    "audits.json": state_vectors.all_vectors,
    "trust_roots.json": root_vectors.all_vectors,
}
"""Files whose keys are seeded, so that they come out the same whenever they are made."""
TOGETHER = (
    {"envelope", "proof"},  # a proof is of the exact envelope
    {"envelope", "request"},  # an envelope names the exact document
    {"index", "size"},
    {"hashes", "second"},
    {"hashes", "second_root"},
    {"first_root", "hashes", "second_root"},
    {"hashes", "root"},
    {"request", "result"},  # exchanged
)
"""What cannot be changed alone: with the first, the second is another by itself."""


def differing(one: Record, other: Record) -> set[str]:
    """Name the inputs in which two vectors differ; all where they are of different kinds."""
    first, second = inputs(one), inputs(other)
    if first["check"] != second["check"]:
        return {"check", *first, *second}
    return {name for name in first if first[name] != second[name]}


class TestKept:
    @pytest.mark.parametrize(
        "record", [*TEXTS, *records(*MADE_ANEW)], ids=lambda record: record["name"]
    )
    def test_it_comes_to_its_verdict(self, record):
        """Texts, proofs, chains and logs of earlier versions keep their verdicts."""
        assert judge(record) == expected(record)

    def test_those_made_now(self, tmp_path):
        """So do those that are made with fresh keys; the file has every one of them."""
        made = json.loads(json.dumps(text_vectors.all_vectors(tmp_path)))
        assert [(each["name"], judge(each)) for each in made] == [
            (each["name"], expected(each)) for each in TEXTS
        ]

    @pytest.mark.parametrize("name", MADE_ANEW)
    def test_the_file_is_what_its_script_makes(self, name, tmp_path):
        """Byte for byte: nothing in it was drawn, nothing was put in by hand."""
        made = json.dumps(MADE_ANEW[name](tmp_path), indent=1) + "\n"
        assert (VECTORS / name).read_text() == made

    def test_each_name_is_used_once(self):
        """A name means one vector."""
        names = [record["name"] for record in RECORDS]
        assert len(set(names)) == len(names)


class TestTwins:
    def test_each_refused_one_has_an_accepted_twin(self):
        """Whatever is refused or left open differs in one input from something accepted."""
        refused = [record for record in RECORDS if record["verdict"] != "valid"]
        assert len(refused) > 250
        assert [
            record["name"]
            for record in refused
            if not any(is_twin(record, accepted) for accepted in ACCEPTED)
        ] == []


def is_twin(record: Record, accepted: Record) -> bool:
    """Tell whether one input, or what goes with it, is all that differs; of a log, one entry."""
    found = differing(record, accepted)
    if found <= {"checkpoint", "envelopes"} and "checkpoint" in found and "envelopes" in found:
        return is_one_apart(record["envelopes"], accepted["envelopes"])
    return len(found) == 1 or found in TOGETHER


def is_one_apart(one: list[str], other: list[str]) -> bool:
    """Tell whether one entry is all that two logs differ in, each under its own head."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    longer, shorter = sorted((one[same:], other[same:]), key=len, reverse=True)
    if len(longer) == len(shorter):
        return longer[1:] == shorter[1:]
    return longer[1:] == shorter
