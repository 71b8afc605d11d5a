"""Which keys may sign policy while a broker runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot, write_trust_root
from broker.errors import BundleInvalid, Unavailable
from broker.policy_keys import PolicyKeys
from broker.verify.bundle import verify_bundle
from tests.activation.bundles import Key
from tests.bundles.signed import Team

TEAM, NEXT, RECEIPT = Team(), Team(), Key(KeyRole.RECEIPT, "ed25519")


def at(version: int, *keys: TrustedKey) -> TrustRoot:
    """Write a version with the receipt key and some others."""
    return TrustRoot(version=version, keys=(RECEIPT.trusted, *keys))


class Running:
    """A broker that began with the team's key."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "trust-root.json"
        self.keys = PolicyKeys(self.file, at(3, TEAM.key.trusted))

    def takes(self, root: TrustRoot, team: Team = TEAM) -> str:
        """Tell by which reason a team's bundle is refused under the file; empty: it is not."""
        self.file.write_text(write_trust_root(root))
        try:
            verify_bundle(team.bundle(6), self.keys())
        except BundleInvalid as error:
            return error.reason
        return ""


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """One in a folder of its own."""
    return Running(tmp_path)


class TestPolicyKeys:
    def test_as_at_the_start(self, running):
        """Nothing changed, or what changed is another key's."""
        assert running.takes(at(3, TEAM.key.trusted)) == ""
        assert running.takes(at(4, TEAM.key.trusted, NEXT.key.trusted)) == ""

    @pytest.mark.parametrize(
        "changed",
        [
            {"status": KeyStatus.WITHDRAWN},
            {"valid_until_index": 7},
        ],
    )
    def test_a_withdrawal_is_heard(self, running, changed):
        """So is an end, and that a key is named no more; what counts again counts again."""
        weaker = replace(TEAM.key.trusted, **changed)
        assert running.takes(at(4, weaker)) == "BUNDLE_KEY_WITHDRAWN"
        assert running.takes(at(4)) == "BUNDLE_KEY_WITHDRAWN"
        assert running.takes(at(4, TEAM.key.trusted)) == ""

    def test_a_new_key_waits_for_a_restart(self, running):
        """The record names no version of the trust root by which it would count."""
        assert running.takes(at(4, TEAM.key.trusted, NEXT.key.trusted), NEXT) == (
            "BUNDLE_KEY_UNKNOWN"
        )

    def test_it_does_not_go_back(self, running):
        """A file that is older than one that was read gives a withdrawn key no second life."""
        weaker = replace(TEAM.key.trusted, status=KeyStatus.WITHDRAWN)
        running.takes(at(5, weaker))
        for version in (4, 2):
            with pytest.raises(Unavailable, match="was 5 before"):
                running.takes(at(version, TEAM.key.trusted))
        assert running.takes(at(5, weaker)) == "BUNDLE_KEY_WITHDRAWN"

    @pytest.mark.parametrize("text", ["", "{}", None])
    def test_a_file_that_cannot_be_used(self, running, text):
        """Nothing is taken on the word of the start alone."""
        if text is not None:
            running.file.write_text(text)
        with pytest.raises(Unavailable, match="put the trust root back"):
            running.keys()
