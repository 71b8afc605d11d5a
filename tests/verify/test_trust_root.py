"""Trust roots that root keys signed: which a reader takes, and which may follow."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.dsse import pae
from broker.core.root_change import Ending, next_version
from broker.core.root_statement import (
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    RootStatement,
    read_statement,
    signers_of,
    statement_of,
    with_signature,
    write_statement,
)
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot, write_trust_root
from broker.errors import ReceiptInvalid
from broker.ports import Signer
from broker.verify.command import run
from broker.verify.signature import is_signed
from broker.verify.trust_root import open_pinned, open_successor, open_trust_root
from tests.core.json_values import VALUES
from tests.verify.receipts import new_signer, sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A trust root of two in three root keys, one of them ECDSA, with everybody's private keys."""

    roots: Sequence[Signer]
    receipt: Signer
    later: Signer
    stranger: Signer
    first: TrustRoot


def trusted(role: KeyRole, signer: Signer) -> TrustedKey:
    return TrustedKey.from_pem(role, signer.public_key_pem)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("roots")
    roots = [new_signer(folder / "1"), new_signer(folder / "2"), new_signer(folder / "3")]
    roots[1] = new_signer(folder / "p256", "ecdsa-p256")
    receipt = new_signer(folder / "receipt")
    keys = (
        trusted(KeyRole.RECEIPT, receipt),
        *(trusted(KeyRole.ROOT, each) for each in roots),
    )
    return World(
        roots=roots,
        receipt=receipt,
        later=new_signer(folder / "later"),
        stranger=new_signer(folder / "stranger"),
        first=TrustRoot(version=1, keys=keys, root_threshold=2),
    )


def signed(root: TrustRoot, *signers: Signer, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Wrap a trust root, signed without a check."""
    statement = replace(statement_of(root), payload_type=payload_type)
    message = pae(payload_type, statement.payload)
    signatures = tuple(each.sign(message) for each in signers)
    return write_statement(replace(statement, signatures=signatures)).encode()


def refused(judge: Callable[[], object]) -> str:
    with pytest.raises(ReceiptInvalid) as caught:
        judge()
    assert caught.value.step == "trust_root"
    return str(caught.value)


class TestOwnThreshold:
    def test_two_of_three_are_enough(self, world):
        """Whichever two signed, in whatever order, with others beside."""
        a, b, c = world.roots
        for signers in ((a, b), (c, a), (b, c), (a, b, c), (world.stranger, a, c)):
            assert open_trust_root(signed(world.first, *signers)) == world.first

    def test_fewer_are_not(self, world):
        """One, nobody, one twice, or one with a stranger: refused."""
        a, _, _ = world.roots
        for signers in ((), (a,), (a, a), (a, world.stranger)):
            assert "not 2" in refused(lambda s=signers: open_trust_root(signed(world.first, *s)))

    def test_a_bit_of_the_payload(self, world):
        """What was signed is every byte of the payload."""
        fields = json.loads(signed(world.first, *world.roots))
        payload = base64.b64decode(fields["payload"]).replace(b'"version": 1', b'"version": 2')
        fields["payload"] = base64.b64encode(payload).decode()
        assert "0 of its own" in refused(lambda: open_trust_root(json.dumps(fields).encode()))

    def test_a_signature_for_something_else(self, world):
        """Root keys' signatures over the same bytes as another type of payload do not count."""
        text = signed(world.first, *world.roots, payload_type="application/vnd.in-toto+json")
        assert "payload type" in refused(lambda: open_trust_root(text))
        fields = json.loads(text) | {"payloadType": PAYLOAD_TYPE}
        assert "0 of its own" in refused(lambda: open_trust_root(json.dumps(fields).encode()))

    def test_a_withdrawn_root_key(self, world):
        """Its signature is one fewer."""
        a, b, c = world.roots
        ending = Ending(key_id=a.key_id, until_index=None, is_withdrawn=True)
        root = next_version(world.first, endings=[ending])
        assert "1 of its own" in refused(lambda: open_trust_root(signed(root, a, b)))
        assert open_trust_root(signed(root, b, c)) == root

    def test_a_root_key_that_ended(self, world):
        """An end is one, though a version has no index: the key signs none any more."""
        ended = next_version(
            world.first,
            endings=[Ending(key_id=trusted(KeyRole.ROOT, world.roots[0]).key_id, until_index=0)],
        )
        assert "1 of its own root keys" in refused(
            lambda: open_trust_root(signed(ended, *world.roots[:2]))
        )
        assert open_trust_root(signed(ended, *world.roots[1:])) == ended
        text = signed(ended, *world.roots)
        assert open_successor(text, world.first) == ended

    def test_no_threshold(self, world):
        """Root keys without a number of them sign nothing that counts."""
        payload = write_trust_root(replace(world.first, root_threshold=0)).encode()
        message = pae(PAYLOAD_TYPE, payload)
        fields = {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"sig": base64.b64encode(each.sign(message)).decode()} for each in world.roots
            ],
        }
        text = json.dumps(fields).encode()
        assert "root_threshold" in refused(lambda: open_trust_root(text))

    def test_bare_it_is_taken_as_given(self, world):
        """Who hands a bare file over vouches for it, whatever root keys it names."""
        assert open_trust_root(write_trust_root(world.first).encode()) == world.first


class TestEnvelope:
    @pytest.mark.parametrize(
        "change",
        [
            {"signatures": None},
            {"signatures": ["x"]},
            {"signatures": [{"sig": 1}]},
            {"signatures": [{"sig": "AA"}]},
            {"signatures": [{"sig": "AA=="}] * (MAX_SIGNATURES + 1)},
            {"payload": "!"},
            {"payload": None},
            {"payloadType": None},
        ],
    )
    def test_a_text_that_is_none(self, world, change):
        """Any other form is refused, and nothing else is raised."""
        good = json.loads(signed(world.first, *world.roots))
        assert read_statement(json.dumps(good).encode()).root == world.first
        refused(lambda: read_statement(json.dumps({**good, **change}).encode()))

    def test_an_envelope_within_the_payload(self, world):
        """Who signs looks at the payload: what counts is in it, not in a text within it."""
        shown = json.loads(statement_of(world.first).payload)
        meant = replace(world.first, version=9)
        hidden = base64.b64encode(statement_of(meant).payload).decode()
        payload = json.dumps({**shown, "payloadType": PAYLOAD_TYPE, "payload": hidden}).encode()
        message = pae(PAYLOAD_TYPE, payload)
        signatures = tuple(each.sign(message) for each in world.roots)
        statement = replace(statement_of(meant), payload=payload, signatures=signatures)
        text = write_statement(statement).encode()
        assert "an envelope" in refused(lambda: read_statement(text))
        refused(lambda: open_trust_root(text))
        refused(lambda: open_pinned(text, [trusted(KeyRole.ROOT, world.roots[0]).key_id]))

    def test_names_beside_signatures_are_nobodys_word(self, world):
        """A key id in the envelope is not signed: neither believed nor needed."""
        fields = json.loads(signed(world.first, *world.roots[:2]))
        for entry in fields["signatures"]:
            entry["keyid"] = world.stranger.key_id
        assert open_trust_root(json.dumps(fields).encode()) == world.first

    def test_signatures_are_added_one_by_one(self, world):
        """Each is checked as it comes; one that is there changes nothing."""
        a, b, _ = world.roots
        statement: RootStatement = statement_of(world.first)
        for signer in (a, b, a):
            key = trusted(KeyRole.ROOT, signer)
            statement = with_signature(statement, key, signer.sign(statement.message), is_signed)
        assert len(statement.signatures) == 2
        assert signers_of(statement, world.first.root_signers, is_signed) == (a.key_id, b.key_id)
        key = trusted(KeyRole.ROOT, a)
        assert "no signature of the key" in refused(
            lambda: with_signature(statement, key, b.sign(statement.message), is_signed)
        )


class TestReceiptsVerify:
    """`receipts verify` and a trust root that is to be signed."""

    def test_it_wants_the_signatures(self, world, tmp_path, capsys):
        """Half a ceremony is no trust root; the whole one is, and verifies what it should."""
        receipt = tmp_path / "receipt.json"
        receipt.write_bytes(sealed("succeeded", world.receipt))
        for signers, code in ((world.roots[:1], 1), (world.roots[:2], 0)):
            (tmp_path / "root.json").write_bytes(signed(world.first, *signers))
            assert run(receipt, tmp_path / "root.json", output="json") == code
            step = json.loads(capsys.readouterr().out)["step"]
            assert step == ("trust_root" if code else None)


class TestAnything:
    @given(
        where=st.sampled_from(["payload", "envelope"]),
        name=st.sampled_from(
            ["version", "keys", "root_threshold", "payload", "payloadType", "signatures"]
        ),
        value=VALUES,
    )
    @settings(max_examples=150)
    def test_one_refusal_whatever_comes(self, world, where, name, value):
        """Any value in any place is refused as a trust root is, or changes nothing."""
        fields = json.loads(signed(world.first, *world.roots))
        if where == "payload":
            payload = {**json.loads(base64.b64decode(fields["payload"])), name: value}
            fields["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        else:
            fields[name] = value
        steps: list[str] = []
        try:
            assert open_trust_root(json.dumps(fields).encode()) == world.first
        except ReceiptInvalid as error:
            steps.append(error.step)
        assert steps in ([], ["trust_root"])


class TestPinned:
    def test_each_that_is_named_must_have_signed(self, world):
        """The reader's root keys signed it, or it is another's."""
        a, b, c = world.roots
        text = signed(world.first, a, b)
        assert open_pinned(text, [a.key_id, b.key_id]) == world.first
        assert f"{c.key_id} did not sign" in refused(
            lambda: open_pinned(text, [a.key_id, c.key_id])
        )

    def test_anothers_root_with_a_known_key_in_it(self, world):
        """Who names a known root key has not its signature."""
        a, b = world.roots[0], world.stranger
        keys = (world.first.keys[0], trusted(KeyRole.ROOT, a), trusted(KeyRole.ROOT, b))
        forged = signed(TrustRoot(version=1, keys=keys, root_threshold=1), b)
        assert open_trust_root(forged).version == 1
        assert "did not sign" in refused(lambda: open_pinned(forged, [a.key_id]))

    def test_a_bare_one(self, world):
        """Nobody signed it."""
        text = write_trust_root(world.first).encode()
        assert "not signed" in refused(lambda: open_pinned(text, [world.roots[0].key_id]))


class TestSuccessor:
    @pytest.fixture
    def second(self, world) -> TrustRoot:
        """The next version: one root key is withdrawn, another takes its place."""
        ending = Ending(key_id=world.roots[0].key_id, until_index=None, is_withdrawn=True)
        return next_version(
            world.first, added=[trusted(KeyRole.ROOT, world.later)], endings=[ending]
        )

    def test_old_and_new_sign_it(self, world, second):
        """It takes the threshold of the version before and its own; some keys are both's."""
        _, b, c = world.roots
        assert open_successor(signed(second, b, c), world.first) == second

    def test_the_new_alone_do_not_suffice(self, world, second):
        """Whoever brings new root keys needs the old ones' word."""
        c, later = world.roots[2], world.later
        text = signed(second, c, later)
        assert open_trust_root(text) == second
        assert "1 of version 1's root keys" in refused(lambda: open_successor(text, world.first))

    def test_the_old_alone_do_not_suffice(self, world, second):
        """A withdrawn key counts for the version before alone."""
        a, b, _ = world.roots
        text = signed(second, a, b)
        assert "1 of its own" in refused(lambda: open_successor(text, world.first))

    def test_one_by_one_and_never_back(self, world, second):
        """No version is left out, taken twice, or taken back."""
        _, b, c = world.roots
        third = next_version(second)
        for root, trust in ((third, world.first), (second, second), (world.first, second)):
            text = signed(root, b, c, world.roots[0])
            assert "does not follow" in refused(lambda t=text, o=trust: open_successor(t, o))
        assert open_successor(signed(third, b, c), second) == third

    def test_another_of_one_version(self, world, second):
        """Two versions of one number are told apart from the same one taken twice."""
        other = next_version(world.first, added=[trusted(KeyRole.LOG, world.stranger)])
        text = signed(other, *world.roots)
        assert "another version 2" in refused(lambda: open_successor(text, second))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({}, None),
            ({}, {"role": KeyRole.LOG}),
            ({"valid_until_index": 7}, {"valid_until_index": 8}),
            ({"valid_until_index": 7}, {}),
            ({"status": KeyStatus.WITHDRAWN}, {}),
            ({"valid_from_index": 3}, {"valid_from_index": 2}),
        ],
    )
    def test_what_was_decided_of_a_key_stays_decided(self, world, before, after):
        """Root keys may have signed it by mistake: no key goes, or counts for more."""
        key, *roots = world.first.keys
        trust = replace(world.first, keys=(replace(key, **before), *roots))

        def follows(changed: TrustedKey | None) -> TrustRoot:
            keys = (*roots, trusted(KeyRole.RECEIPT, world.later), *([changed] if changed else ()))
            root = replace(world.first, version=2, keys=keys)
            return open_successor(signed(root, *world.roots), trust)

        twin = replace(key, **before)
        assert follows(twin).find(key.key_id) == twin
        changed = None if after is None else replace(key, **after)
        assert "stays decided" in refused(lambda: follows(changed))

    def test_a_bare_one_follows_nothing(self, world, second):
        """Without signatures nothing ties it to the version before."""
        text = write_trust_root(second).encode()
        assert "not signed" in refused(lambda: open_successor(text, world.first))

    def test_nothing_follows_what_names_no_root_keys(self, world):
        """Such a version says nothing of who may change it."""
        bare = TrustRoot(version=1, keys=world.first.keys[:1])
        second = next_version(bare, added=world.first.keys[1:], root_threshold=2)
        text = signed(second, *world.roots)
        assert "does not say how many" in refused(lambda: open_successor(text, bare))
