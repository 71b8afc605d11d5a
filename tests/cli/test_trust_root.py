"""`toolwarrant trust-root`, with openssl in the place of whoever holds a root key offline."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from broker.adapters.file_signer import FileSigner, generate_key
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot, read_trust_root, write_trust_root
from broker.keyring import open_signer
from tests.cli.within import toolwarrant
from tests.softhsm import new_token
from tests.verify.log_vectors import checkpoint_of, new_keys
from tests.verify.log_vectors import trusted as key_in
from tests.verify.mixed_log import MixedLog
from tests.verify.test_audit import write_log

MESSAGE = b"DSSEv1 43 application/vnd.toolwarrant.trust-root+json "


def openssl(folder: Path, *argv: str) -> None:
    """Run openssl as a root key's holder does."""
    subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)


def offline_key(folder: Path, name: str, kind: str = "ed25519") -> None:
    """Make a root key with openssl alone: NAME.key, NAME.pub."""
    curve = ("-algorithm", "ed25519")
    if kind == "p256":
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    openssl(folder, "genpkey", *curve, "-out", f"{name}.key")
    openssl(folder, "pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub")


def key_id(folder: Path, name: str) -> str:
    """Give a public key's id."""
    return TrustedKey.from_pem(KeyRole.ROOT, (folder / f"{name}.pub").read_text()).key_id


class Desk:
    """A folder where somebody keeps trust roots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run `toolwarrant trust-root` there."""
        return toolwarrant("trust-root", *argv, cwd=self.folder)

    def done(self, *argv: str) -> str:
        """Run it, to an end without fault."""
        ran = self.run(*argv)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def sign_offline(self, file: str, name: str, *hash_: str) -> str:
        """Sign a version with openssl, put the signature into its file."""
        (self.folder / "message").unlink(missing_ok=True)
        self.done("to-sign", file, "--out", "message")
        key = ("-inkey", f"{name}.key", "-rawin", "-in", "message", "-out", "signature")
        openssl(self.folder, "pkeyutl", "-sign", *key, *hash_)
        public = ("--public-key", f"{name}.pub", "--signature", "signature")
        return self.done("add-signature", file, *public)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with a bare first version, and a second of three root keys, two of which signed it."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    generate_key(desk.folder / "receipt.key")
    pem = FileSigner(f"file:{desk.folder}/receipt.key").public_key_pem
    root = TrustRoot(version=1, keys=(TrustedKey.from_pem(KeyRole.RECEIPT, pem),))
    (desk.folder / "1.json").write_text(write_trust_root(root))
    for name, kind in (("root1", "ed25519"), ("root2", "p256"), ("root3", "ed25519")):
        offline_key(desk.folder, name, kind)
    roots = [part for n in (1, 2, 3) for part in ("--add", f"root=root{n}.pub")]
    desk.done("new-version", "1.json", "--out", "2.json", *roots, "--threshold", "2")
    assert desk.run("verify", "2.json").returncode == 1
    assert "signed by 1 root keys of the 2" in desk.sign_offline("2.json", "root1")
    assert desk.run("verify", "2.json").returncode == 1
    said = desk.sign_offline("2.json", "root2", "-digest", "sha256")
    assert "signed by 2 root keys of the 2" in said
    return desk


class TestOffline:
    def test_openssl_signs_what_is_written(self, made: Desk) -> None:
        """The bytes are the DSSE encoding of the payload, which is the bare file."""
        message = (made.folder / "message").read_bytes()
        assert message.startswith(MESSAGE)
        payload = message.removeprefix(MESSAGE).partition(b" ")[2]
        root = read_trust_root(payload)
        assert (root.version, root.root_threshold, len(root.keys)) == (2, 2, 4)

    def test_a_signature_of_another_key(self, made: Desk) -> None:
        """A signature that is not the key's is refused; the file stays as it was."""
        before = (made.folder / "2.json").read_bytes()
        argv = ("--public-key", "root3.pub", "--signature", "signature")
        ran = made.run("add-signature", "2.json", *argv)
        assert (ran.returncode, "is no signature of the key" in ran.stderr) == (1, True)
        assert (made.folder / "2.json").read_bytes() == before

    def test_a_bare_file_has_nothing_to_sign(self, made: Desk) -> None:
        """It says how to come to one that root keys sign."""
        ran = made.run("to-sign", "1.json", "--out", "nothing")
        assert (ran.returncode, "new-version" in ran.stderr) == (2, True)

    def test_nothing_is_overwritten(self, made: Desk) -> None:
        """A version that waits for signatures is not lost by a second attempt."""
        ran = made.run("new-version", "1.json", "--out", "2.json")
        assert (ran.returncode, "cannot be written" in ran.stderr) == (2, True)


class TestVerify:
    def test_nothing_says_whose_it_is(self, made: Desk) -> None:
        """In order by itself, which is not yet a reason to trust it."""
        ran = made.run("verify", "2.json", "-o", "json")
        assert (ran.returncode, json.loads(ran.stdout)["verdict"]) == (3, "indeterminate")
        assert made.run("verify", "1.json").returncode == 3

    def test_root_keys_that_the_reader_knows(self, made: Desk) -> None:
        """The two that signed it do, the third does not."""
        ids = [key_id(made.folder, f"root{n}") for n in (1, 2, 3)]
        known = ("--root-key", ids[0], "--root-key", ids[1])
        assert "VALID: version 2" in made.done("verify", "2.json", *known)
        assert made.run("verify", "2.json", *known, "--root-key", ids[2]).returncode == 1
        assert made.run("verify", "1.json", *known).returncode == 1

    def test_a_third_version(self, made: Desk) -> None:
        """A receipt key gets its end; the old root keys let the version follow, a stranger none."""
        receipt = read_trust_root((made.folder / "1.json").read_bytes()).keys[0].key_id
        argv = ("--out", "3.json", "--until", f"{receipt}=40")
        made.done("new-version", "2.json", *argv)
        made.sign_offline("3.json", "root1")
        assert made.run("verify", "3.json", "--trusted", "2.json").returncode == 1
        made.done("sign", "3.json", "--key", "file:root3.key")
        assert "VALID: version 3" in made.done("verify", "3.json", "--trusted", "2.json")
        for files, trusted in ((["2.json"], "3.json"), (["3.json"], "3.json")):
            assert made.run("verify", *files, "--trusted", trusted).returncode == 1
        shown = json.loads(made.done("show", "3.json", "-o", "json"))
        assert (shown["keys"][0]["valid_until_index"], len(shown["signed_by"])) == (40, 2)

    def test_versions_one_after_the_other(self, made: Desk) -> None:
        """Who was away follows every version in between, and leaves none out."""
        made.done("new-version", "2.json", "--out", "3b.json")
        made.sign_offline("3b.json", "root1")
        made.sign_offline("3b.json", "root3")
        made.done("new-version", "3b.json", "--out", "4b.json")
        made.sign_offline("4b.json", "root1")
        made.sign_offline("4b.json", "root3")
        assert made.run("verify", "4b.json", "--trusted", "2.json").returncode == 1
        assert "version 4" in made.done("verify", "3b.json", "4b.json", "--trusted", "2.json")


class TestShow:
    def test_it_lists_every_key(self, made: Desk) -> None:
        """People see what they are to sign."""
        said = made.done("show", "2.json")
        assert said.startswith("version 2, signed by 2 root keys of the 2 that have to\n")
        assert [said.count(role) for role in ("receipt ", "root ")] == [1, 4]
        assert made.done("show", "1.json").startswith("version 1, not signed\n")


class TestToken:
    def test_a_root_key_on_a_token_signs(
        self, made: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A root key may lie on a device that gives nothing away."""
        token = new_token(tmp_path / "token")
        monkeypatch.setenv("SOFTHSM2_CONF", str(token.conf))
        token.make_key("root", "secp256r1")
        (made.folder / "root4.pub").write_text(open_signer(token.uri("root")).public_key_pem)
        made.done("new-version", "2.json", "--out", "hsm.json", "--add", "root=root4.pub")
        made.done("sign", "hsm.json", "--key", token.uri("root"))
        made.sign_offline("hsm.json", "root1")
        made.done("sign", "hsm.json", "--key", "file:root3.key")
        assert "VALID: version 3" in made.done("verify", "hsm.json", "--trusted", "2.json")


class TestEnds:
    """An end before what a key signed would make that invalid for every reader, for ever."""

    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        """A desk with the log of a broker whose receipt and log keys are both in use."""
        keys = new_keys(tmp_path)
        log = MixedLog(signer=keys.receipt)
        for _ in range(3):
            log.tell("key.in_use")
        write_log(tmp_path / "log", log.entries, checkpoint_of(log.entries, keys.log))
        trusts = key_in(KeyRole.RECEIPT, keys.receipt), key_in(KeyRole.LOG, keys.log)
        (tmp_path / "1.json").write_text(write_trust_root(TrustRoot(version=1, keys=trusts)))
        return Desk(tmp_path)

    @pytest.mark.parametrize("place", [0, 1], ids=["receipt", "log"])
    def test_where_the_log_is_at_hand(self, desk: Desk, place: int) -> None:
        """The end is refused by the entry that it leaves out; behind that it is taken."""
        key = read_trust_root((desk.folder / "1.json").read_bytes()).keys[place].key_id
        new = ("new-version", "1.json", "--log", "log", "--out")
        ran = desk.run(*new, "2.json", "--until", f"{key}=2")
        assert (ran.returncode, (desk.folder / "2.json").exists()) == (2, False)
        assert f"{key} signed entry 2" in ran.stderr
        desk.done(*new, "2.json", "--until", f"{key}=3")
        desk.done(*new, "w.json", "--withdraw", f"{key}=1")

    def test_another_key_s_entries(self, desk: Desk, tmp_path: Path) -> None:
        """What the key after it signed is nobody's reason to refuse."""
        offline_key(desk.folder, "old")
        desk.done("new-version", "1.json", "--add", "receipt=old.pub", "--out", "2.json")
        old = key_id(desk.folder, "old")
        argv = ("--until", f"{old}=0", "--log", "log", "--out", "3.json")
        desk.done("new-version", "2.json", *argv)

    def test_a_witness_by_its_name(self, desk: Desk) -> None:
        """Who is to sign a version sees under which name a witness counts."""
        root = read_trust_root((desk.folder / "1.json").read_bytes())
        offline_key(desk.folder, "witness")
        pem = (desk.folder / "witness.pub").read_text()
        named = replace(TrustedKey.from_pem(KeyRole.WITNESS, pem), name="witness.test/1")
        text = write_trust_root(replace(root, keys=(*root.keys, named)))
        (desk.folder / "named.json").write_text(text)
        assert "witness witness.test/1" in desk.done("show", "named.json")
        shown = json.loads(desk.done("show", "named.json", "-o", "json"))
        assert [key.get("name") for key in shown["keys"]] == [None, None, "witness.test/1"]

    def test_without_it(self, desk: Desk) -> None:
        """Nobody looked, so it is said what the end means."""
        key = read_trust_root((desk.folder / "1.json").read_bytes()).keys[0].key_id
        ran = desk.run("new-version", "1.json", "--out", "2.json", "--until", f"{key}=0")
        assert (ran.returncode, "--log FOLDER" in ran.stderr) == (0, True)

    def test_no_log(self, desk: Desk) -> None:
        """A folder that is none is refused."""
        key = read_trust_root((desk.folder / "1.json").read_bytes()).keys[0].key_id
        argv = ("--until", f"{key}=9", "--log", "none")
        ran = desk.run("new-version", "1.json", "--out", "2.json", *argv)
        assert (ran.returncode, "name the folder of a log" in ran.stderr) == (2, True)
