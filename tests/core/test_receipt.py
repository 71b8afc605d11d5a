"""Receipts: what is signed, in which bytes, and what never goes in."""

import json
from dataclasses import replace

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.call import Cause
from broker.core.canonical import canonical_json
from broker.core.dsse import IN_TOTO, MAX_ENVELOPE_BYTES, envelope, pae, read_envelope
from broker.core.ids import AgentId, Sha256, sha256_hex
from broker.core.lifecycle import CallState
from broker.core.receipt import FIRST_PREVIOUS, Position, ReceiptDraft, seal, statement
from broker.errors import ReceiptInvalid
from broker.verify.shape import SCHEMA, shape_fault
from tests.verify.receipts import (
    CALL,
    ENDINGS,
    ENFORCED,
    OBLIGATIONS,
    REQUEST,
    RESULT,
    Ended,
    new_signer,
    position,
    ran,
)

BARE = ReceiptDraft(subjects=(("request", Sha256("1" * 64)),), predicate={"identity": {}})


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return new_signer(tmp_path_factory.mktemp("keys") / "key")


def predicate(ending: Ended, signer) -> dict:
    return json.loads(statement(ending.draft(signer), position()))["predicate"]


class TestStatement:
    @pytest.mark.parametrize("name", ENDINGS)
    def test_each_ending_has_the_published_shape(self, name, signer):
        """What is drafted of every ending is what the schema says."""
        assert shape_fault(json.loads(statement(ENDINGS[name].draft(signer), position()))) is None

    def test_the_schema_is_a_schema(self):
        """The published schema is valid JSON Schema 2020-12 itself."""
        assert jsonschema_rs.meta.is_valid(SCHEMA)

    def test_the_schema_has_every_cause(self):
        """No ending is one that a verifier refuses."""
        outcome = SCHEMA["$defs"]["predicate"]["properties"]["outcome"]
        listed = outcome["properties"]["cause"]["anyOf"][0]["enum"]
        assert {each.value for each in Cause} == set(listed)

    def test_it_has_its_place(self):
        """The store's position fills the group `identity`, numbers of 64 bits as strings."""
        place = Position(installation="i", epoch=2, sequence=2**62, previous=Sha256("a" * 64))
        said = json.loads(statement(BARE, place))
        assert said["predicate"]["identity"] == {
            "installation": "i",
            "epoch": "2",
            "sequence": str(2**62),
            "previous": "a" * 64,
        }

    @pytest.mark.parametrize(
        ("value", "word"),
        [(1.5, "float"), (1.0, "float"), (2**31, "32 bits"), (-(2**31), "32 bits")],
    )
    @pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"x": [{"y": v}]}])
    def test_numbers_that_some_reader_would_round(self, value, word, wrap):
        """Floats, and numbers beyond 32 bits that are not strings, are refused."""
        with pytest.raises(ValueError, match=word):
            statement(replace(BARE, predicate={"identity": {}, "g": wrap(value)}), position())

    def test_small_numbers_pass(self):
        """Numbers that every reader keeps stay numbers."""
        drafted = replace(BARE, predicate={"identity": {}, "n": 2**31 - 1, "b": True})
        assert json.loads(statement(drafted, position()))["predicate"]["n"] == 2**31 - 1

    def test_it_fits_into_65535_bytes(self):
        """A statement that is larger by one byte is refused by name."""
        empty = len(statement(replace(BARE, predicate={"identity": {}, "x": ""}), position()))
        full = replace(BARE, predicate={"identity": {}, "x": "x" * (65_535 - empty)})
        over = replace(BARE, predicate={"identity": {}, "x": "x" * (65_536 - empty)})
        assert len(statement(full, position())) == 65_535
        with pytest.raises(ValueError, match="the statement has 65536 bytes"):
            statement(over, position())

    def test_the_envelope_fits_into_a_leaf(self, signer):
        """Base64 makes it longer: what no leaf of the log holds is not sealed."""
        drafted = replace(BARE, predicate={"identity": {}, "x": "x" * 50_000})
        with pytest.raises(ValueError, match="the envelope has"):
            seal(drafted, position(), signer.sign)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"sequence": 0},
            {"epoch": 0},
            {"sequence": 2},
            {"previous": Sha256("1" * 64)},
        ],
    )
    def test_a_place_that_cannot_be(self, wrong):
        """Only the first receipt has none before it, and counting starts at 1."""
        good = {"installation": "i", "epoch": 1, "sequence": 1, "previous": FIRST_PREVIOUS}
        assert Position(**good).sequence == 1
        with pytest.raises(ValueError, match=r"count from 1|no previous"):
            Position(**{**good, **wrong})


class TestDraft:
    @pytest.mark.parametrize("name", ENDINGS)
    def test_nothing_guessable_or_personal_goes_in(self, name, signer):
        """No word that the agent or the tool chose, no digest of bare content, is in a receipt."""
        text = statement(ENDINGS[name].draft(signer), position()).decode()
        tree, vote = "e" * 64, "d" * 64
        words = (
            "secret word",
            "secret-",
            "that the agent named",
            tree,
            vote,
            "a-group-of-one",
            "K7Q2M9XA",
        )
        assert [word for word in words if word in text] == []

    @pytest.mark.parametrize("name", ENDINGS)
    def test_a_dictionary_finds_nothing(self, name, signer):
        """Of likely arguments, outputs and files no digest is found; with the salt, one is."""
        text = statement(ENDINGS[name].draft(signer), position()).decode()
        arguments = REQUEST.body["arguments"]
        guesses = [
            canonical_json(REQUEST.body),
            canonical_json(arguments),
            arguments["code"].encode(),
            canonical_json(RESULT.body),
            b"the secret word",
            b"the secret word\n",
            b"secret-plan.txt",
            b"x",
            b"",
        ]
        assert [guess for guess in guesses if sha256_hex(guess) in text] == []
        assert sha256_hex(REQUEST.text) in text

    def test_an_unknown_tool_is_not_named(self, signer):
        """A tool that the catalogue does not know is the agent's own text."""
        said = predicate(ENDINGS["denied_unknown_tool"], signer)
        assert said["request"]["tool"] is None
        assert said["outcome"] == {
            "state": "DENIED",
            "cause": None,
            "rule": "broker.tool_unknown",
        }

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ("teams.pay.no_refunds", "teams.pay.no_refunds"),
            ("denied: alice@example.org wants /etc/passwd", "(not a name)"),
            ("x" * 129, "(not a name)"),
            ("", None),
        ],
    )
    def test_a_rule_that_writes_sentences_is_not_quoted(self, rule, said, signer):
        """Only what has the form of a name is repeated as a rule's id."""
        evaluation = replace(CALL.evaluations[0], rule=rule)
        ending = Ended(call=replace(CALL, evaluations=(evaluation,)))
        assert predicate(ending, signer)["outcome"]["rule"] == said

    def test_the_subjects_are_the_documents(self, signer):
        """A run names request and result, a denial its request alone."""
        names = {
            name: [subject for subject, _ in ENDINGS[name].draft(signer).subjects]
            for name in ("succeeded", "denied")
        }
        assert names == {"succeeded": ["request", "result"], "denied": ["request"]}

    def test_result_and_usage(self, signer):
        """The result is sizes and counts, each with who says it; wide numbers are strings."""
        said = predicate(ENDINGS["killed"], signer)
        assert said["result"] == {
            "sha256": RESULT.sha256,
            "exit_code": 137,
            "stdout": {"size_bytes": "16", "truncated": False},
            "stderr": {"size_bytes": "0", "truncated": False},
            "outputs": 1,
            "changes": 0,
            "limits_hit": ["memory"],
            "sources": {"exit_code": "engine", "stdout": "tool", "usage": "cgroup"},
        }
        assert said["usage"] == {
            "wall_ms": "812",
            "cpu_ms": "40",
            "max_memory_bytes": "9000000000",
            "max_pids": "4",
            "files_bytes": "3",
        }

    def test_approvals_by_pseudonym(self, signer):
        """A vote is named by pseudonym, view and hold."""
        said = predicate(ENDINGS["succeeded_after_approval"], signer)
        assert said["approvals"] == [
            {
                "at": "2026-01-01T12:00:00.000000Z",
                "person": "p-4f1c",
                "role": "approver",
                "verdict": "approve",
                "authenticated_by": "mtls",
                "hold_number": 1,
                "view_sha256": "6" * 64,
            }
        ]

    def test_obligations_say_what_was_enforced(self, signer):
        """A run by the profile demanded enforced every obligation."""
        listed = predicate(ENDINGS["succeeded"], signer)["obligations"]
        assert {entry["name"]: entry["enforced"] for entry in listed} == {
            "runtime": True,
            "limits.cpu_millicores": True,
            "limits.memory_bytes": True,
            "limits.pids": True,
            "limits.timeout_s": True,
            "limits.output_bytes": True,
            "limits.tmp_bytes": True,
            "egress": True,
            "secrets": True,
            "redact": True,
        }

    @pytest.mark.parametrize(
        ("fact", "value", "obligation"),
        [
            ("runtime", "runsc", "runtime"),
            ("memory_bytes", 1, "limits.memory_bytes"),
            ("pids", 65, "limits.pids"),
            ("cpu_millicores", None, "limits.cpu_millicores"),
            ("network", "bridge", "egress"),
            # A way out that the call's list does not have.
            ("egress_destinations", 1, "egress"),
        ],
    )
    def test_a_fact_that_differs_is_not_called_enforced(self, fact, value, obligation, signer):
        """What the Engine says otherwise is said otherwise."""
        enforced = replace(ENFORCED, facts={**ENFORCED.facts, fact: value})
        listed = predicate(replace(ENDINGS["succeeded"], enforced=enforced), signer)["obligations"]
        assert [entry["name"] for entry in listed if not entry["enforced"]] == [obligation]

    @pytest.mark.parametrize(
        ("given", "enforced"), [(("a", "b"), True), (("a",), False), ((), False), (("c",), False)]
    )
    def test_secrets_are_counted_and_enforced_where_given(self, given, enforced, signer):
        """How many, and whether the tool got exactly those; never which."""
        ending = ENDINGS["succeeded"]
        call = replace(
            ending.call, obligations=replace(ending.call.obligations, secrets=("a", "b"))
        )
        ran = replace(ending, call=call, report=replace(ending.report, secrets=given))
        listed = predicate(ran, signer)["obligations"]
        assert [entry for entry in listed if entry["name"] == "secrets"] == [
            {"name": "secrets", "count": 2, "enforced": enforced}
        ]

    def test_nothing_is_enforced_where_nothing_was_made(self, signer):
        """Without a container no obligation was enforced."""
        listed = predicate(ENDINGS["expired"], signer)["obligations"]
        assert {entry["enforced"] for entry in listed} == {False}

    def test_development_is_said(self, signer):
        """A receipt of the development set says so."""
        drafted = ENDINGS["denied"].draft(signer, development=True)
        assert drafted.predicate["development"] is True

    @pytest.mark.parametrize("state", [state for state in CallState if not state.is_final])
    def test_an_open_call_has_no_receipt(self, state, signer):
        """A receipt is of an end."""
        with pytest.raises(ValueError, match="when it ends"):
            Ended(call=replace(CALL, state=state)).draft(signer)

    def test_a_result_needs_its_report(self, signer):
        """A result document without a report, or the other way round, is a fault of the caller."""
        ending = ran(CallState.SUCCEEDED, Cause.EXITED, 0)
        with pytest.raises(ValueError, match="or neither"):
            replace(ending, report=None).draft(signer)
        with pytest.raises(ValueError, match="or neither"):
            replace(ending, call=replace(ending.call, result_sha256=None)).draft(signer)

    def test_the_largest_call_fits(self, signer):
        """Many votes and evaluations still fit into a leaf of the log."""
        vote = ENDINGS["rejected"].call.hold.votes[0]
        call = replace(
            ENDINGS["succeeded_after_approval"].call,
            agent=AgentId("spiffe://toolwarrant.dev/" + "a" * 200),
            evaluations=CALL.evaluations * 9,
            past_votes=(vote,) * 60,
            obligations=OBLIGATIONS,
        )
        ending = replace(ENDINGS["succeeded_after_approval"], call=call)
        assert len(seal(ending.draft(signer), position(), signer.sign)) < MAX_ENVELOPE_BYTES


class TestDsse:
    @pytest.mark.parametrize(
        ("kind", "payload", "expected"),
        [
            (
                "http://example.com/HelloWorld",
                b"hello world",
                b"DSSEv1 29 http://example.com/HelloWorld 11 hello world",
            ),
            ("", b"", b"DSSEv1 0  0 "),
            ("é", "ü".encode(), b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"),
        ],
    )
    def test_pae(self, kind, payload, expected):
        """The bytes that are signed are those of the DSSE text; its own example is the first."""
        assert pae(kind, payload) == expected

    @given(st.binary(min_size=1, max_size=200), st.binary(min_size=1, max_size=80))
    def test_an_envelope_reads_back(self, payload, signature):
        """What was written is read, byte for byte."""
        read = read_envelope(envelope(payload, signature))
        assert (read.payload_type, read.payload, read.signature) == (IN_TOTO, payload, signature)

    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_nothing_else_escapes(self, text):
        """Whatever is not an envelope is refused with ReceiptInvalid."""
        with pytest.raises(ReceiptInvalid, match=r"^envelope: "):
            read_envelope(text)
