"""A broker whose keys change, and one whose log key is on a token."""

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from broker.config import load
from broker.core.lifecycle import CallState
from broker.core.root_change import next_version
from broker.core.trust_root import KeyRole, TrustedKey, read_trust_root, write_trust_root
from broker.errors import FailedPrecondition
from broker.keyring import open_signer
from broker.rotation import rotate
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity, Verdict
from tests.activation.bundles import Key
from tests.broker_process import NotServed, Served
from tests.bundles.signed import numbered
from tests.cli.within import toolwarrant
from tests.e2e.halting import until
from tests.ports.samples import first, new_call
from tests.ports.shelf import SqliteShelf
from tests.softhsm import Token, new_token


def denied(broker: Served) -> tuple[str, bytes]:
    """Make a call that ends at once; give its name with its receipt."""
    call = broker.client("agent").call("no_such_tool", {})
    return call.name, call.receipt.encode()


def proven(broker: Served, call: str, receipt: bytes, root: bytes) -> Verdict:
    """Verify a receipt by the proof that the broker gives now."""
    proof = broker.client("auditor").inclusion_proof(call).proof.encode()
    return verify_receipt(receipt, read_trust_root(root), proof=proof)


def not_served(broker: Served) -> tuple[int, str]:
    """Start a broker that does not come up; give its exit code with what it said."""
    with pytest.raises(NotServed) as caught:
        broker.start()
    return caught.value.code, str(caught.value)


def events(folder: Path, types: str) -> list[tuple[str, dict[str, str]]]:
    """List the events of some types, by a pattern of SQL."""
    with closing(sqlite3.connect(f"file:{folder}/toolwarrant.db?mode=ro", uri=True)) as store:
        sql = "SELECT type, data FROM events WHERE type LIKE ?"
        found = store.execute(sql, (types,)).fetchall()
    return [(kind, json.loads(data)) for kind, data in found]


class TestRotation:
    def test_the_chain_goes_on_under_the_next_keys(self, serve):
        """Receipts before and after are valid by their places, and the log is whole."""
        broker: Served = serve()
        folder = broker.folder.path
        file = folder / "trust-root.json"
        first = denied(broker)
        running = self.rotate(broker, "receipt")
        assert (running.returncode, "owns the store" in running.stderr) == (1, True)
        broker.stop()
        before = file.read_bytes()
        size = int((folder / "toolwarrant.db.tlog" / "checkpoint").read_text().split("\n")[1])
        for role, setting in (("receipt", "key"), ("log", "log_key")):
            said = json.loads(self.rotate(broker, role).stdout)
            assert (said["valid_from_index"], said["to_sign"]) == (size, False)
            if role == "receipt":
                code, words = not_served(broker)
                assert (code, "[KEY_ENDED]" in words) == (2, True)
            broker.folder.set({"receipts": {setting: said["key"]}})
        broker.start()
        second = denied(broker)
        root = file.read_bytes()
        for call in (first, second):
            assert proven(broker, *call, root).validity is Validity.VALID
        assert proven(broker, *second, before).validity is Validity.INVALID
        unproven = verify_receipt(first[1], read_trust_root(root))
        assert unproven.validity is Validity.INDETERMINATE
        broker.stop()
        whole = ("audit", "verify", f"{folder}/toolwarrant.db.tlog", "--trust-root", str(file))
        assert toolwarrant(*whole, cwd=folder).returncode == 0
        self.check_events(folder, before, root)
        self.check_refusals(broker, before, root)

    async def test_a_log_that_is_behind(self, development_folder, tmp_path):
        """What the next key would sign before its own beginning is for the old one to sign."""
        folder = development_folder.copy(tmp_path / "dev")
        store = await SqliteShelf(folder.path / "toolwarrant.db").open()
        await store.commit(first(new_call(1, CallState.DENIED)))
        await store.close()
        with pytest.raises(FailedPrecondition, match="entries that no head covers") as caught:
            rotate(load(folder.config), KeyRole.RECEIPT, None)
        assert caught.value.reason == "LOG_BEHIND"
        key = rotate(load(folder.config), KeyRole.LOG, None).key
        assert key.valid_from_index == 0

    @staticmethod
    def rotate(broker: Served, role: str) -> subprocess.CompletedProcess[str]:
        """Rotate a key, as an operator does."""
        argv = ("keys", "rotate", role, "--config", str(broker.folder.config), "-o", "json")
        return toolwarrant(*argv, cwd=broker.folder.path)

    @staticmethod
    def check_refusals(broker: Served, before: bytes, after: bytes) -> None:
        """A key whose time has not come signs nothing; the trust root goes to no older version."""
        file = broker.folder.path / "trust-root.json"
        later = re.sub(rb'("valid_from_index": )[1-9]\d*', rb"\g<1>1000000", after)
        file.write_bytes(later)
        code, words = not_served(broker)
        assert (code, "[KEY_NOT_YET_VALID]" in words) == (2, True)
        file.write_bytes(before)
        keys = {"key": "file:keys/receipt.key", "log_key": "file:keys/log.key"}
        # Nor does it take a bundle on such a trust root's word, whose keys may be withdrawn since.
        folder = broker.folder.path
        archive = Key.of(folder / "keys" / "policy.key").sign(numbered(7))
        (folder / "policy.tar.gz").write_bytes(archive)
        broker.folder.set({"receipts": keys, "policy": {"bundle": "policy.tar.gz"}})
        code, words = not_served(broker)
        assert (code, "[TRUST_ROOT_WENT_BACK]" in words) == (2, True)
        assert events(folder, "policy.activated") == []

    @staticmethod
    def check_events(folder: Path, before: bytes, after: bytes) -> None:
        """Each change stands in the record once, with what was there before."""
        old, new = (
            {key.role.value: key.key_id for key in read_trust_root(text).keys}
            for text in (before, after)
        )
        assert events(folder, "key.%") == [
            ("key.trust_root", {"version": "1"}),
            *[
                ("key.in_use", {"role": role, "key_id": old[role], "previous": ""})
                for role in ("receipt", "log")
            ],
            ("key.trust_root", {"version": "3"}),
            *[
                ("key.in_use", {"role": role, "key_id": new[role], "previous": old[role]})
                for role in ("receipt", "log")
            ],
        ]


class TestToken:
    @pytest.fixture
    def token(self, tmp_path, monkeypatch) -> Token:
        """A token with a log key, which brokers of this test find."""
        token = new_token(tmp_path / "token")
        monkeypatch.setenv("SOFTHSM2_CONF", str(token.conf))
        token.make_key("log")
        return token

    def test_the_log_waits_for_its_token_and_calls_do_not(
        self, token, development_folder, tmp_path
    ):
        """Gone in mid-flight, the head waits with an alarm; back again, it covers everything."""
        uri = token.uri("log")
        folder = development_folder.copy(tmp_path / "dev", {"receipts": {"log_key": uri}})
        file = folder.path / "trust-root.json"
        key = TrustedKey.from_pem(KeyRole.LOG, open_signer(uri).public_key_pem)
        root = next_version(read_trust_root(file.read_bytes()), added=[key])
        file.write_text(write_trust_root(root))

        with Served(folder) as broker:
            first = denied(broker)
            assert proven(broker, *first, file.read_bytes()).validity is Validity.VALID
            token.take_away()
            second = denied(broker)
            until(lambda: "TOKEN_UNAVAILABLE" in broker.words(), "an alarm")
            assert verify_receipt(second[1], root).validity is Validity.VALID
            token.bring_back()
            assert proven(broker, *second, file.read_bytes()).validity is Validity.VALID
            broker.stop()

            token.take_away()
            code, words = not_served(broker)
            assert (code, "[TOKEN_UNAVAILABLE]" in words) == (1, True)
            for text in (words, folder.config.read_text()):
                assert token.pin_file.read_text().strip() not in text
