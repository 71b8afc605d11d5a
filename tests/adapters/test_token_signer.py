"""Keys on a PKCS#11 token: SoftHSM's."""

import os
import subprocess
from pathlib import Path
from threading import Event

import pytest

from broker.adapters.file_signer import FileSigner, generate_key
from broker.adapters.secret_sources import read_pin
from broker.adapters.token_signer import TokenSigner
from broker.adapters.token_signer.worker import Stuck, Worker
from broker.core.token_key import TokenKey
from broker.core.trust_root import KeyRole, TrustedKey
from broker.errors import ConfigurationError, TokenUnavailable
from broker.keyring import open_signer
from broker.verify.signature import is_signed
from tests.softhsm import PIN, Token, new_token


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """A token with a key of each kind."""
    token = new_token(tmp_path_factory.mktemp("token"))
    os.environ["SOFTHSM2_CONF"] = str(token.conf)
    token.make_key("log", number=1)
    token.make_key("p256", "secp256r1", number=2)
    token.make_key("p384", "secp384r1", number=3)
    token.make_key("twice", number=4)
    token.make_key("twice", number=5)
    del os.environ["SOFTHSM2_CONF"]
    return token


@pytest.fixture
def token(made: Token, monkeypatch: pytest.MonkeyPatch) -> Token:
    """The token, in its slot."""
    monkeypatch.setenv("SOFTHSM2_CONF", str(made.conf))
    return made


class TestSigner:
    @pytest.mark.parametrize("key", ["log", "p256"])
    def test_what_it_signs_verifies(self, token: Token, key: str) -> None:
        """A signature of either kind is that of its public key, and of no other message."""
        signer = open_signer(token.uri(key))
        trusted = TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem)
        signature = signer.sign(b"a message")
        assert trusted.key_id == signer.key_id
        assert is_signed(trusted, b"a message", signature)
        assert not is_signed(trusted, b"another", signature)

    def test_openssl_takes_it(self, token: Token, tmp_path: Path) -> None:
        """A foreign program verifies the signature with the PEM that the signer gives."""
        signer = open_signer(token.uri("log"))
        (tmp_path / "key.pem").write_text(signer.public_key_pem)
        (tmp_path / "message").write_bytes(b"a message")
        (tmp_path / "signature").write_bytes(signer.sign(b"a message"))
        argv = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"]
        argv += ["-in", "message", "-sigfile", "signature"]
        assert subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True).returncode == 0

    def test_ed25519_gives_the_same_bytes(self, token: Token) -> None:
        """A head that was signed before a crash is signed the same after it."""
        signer = open_signer(token.uri("log"))
        assert signer.sign(b"head") == open_signer(token.uri("log")).sign(b"head")

    def test_a_file_is_opened_by_its_own_scheme(self, tmp_path: Path) -> None:
        """The one function opens either keeper of keys."""
        generate_key(tmp_path / "key")
        assert isinstance(open_signer(f"file:{tmp_path}/key"), FileSigner)


class TestTrouble:
    def test_a_token_that_goes_and_comes(self, token: Token) -> None:
        """Nothing is signed without it; once it is back, the same signer signs on."""
        signer = open_signer(token.uri("log"))
        before = signer.sign(b"head")
        token.take_away()
        try:
            for _ in range(2):
                with pytest.raises(TokenUnavailable):
                    signer.sign(b"head")
        finally:
            token.bring_back()
        assert signer.sign(b"head") == before

    def test_a_wrong_pin_is_tried_once(self, token: Token) -> None:
        """A token that counts wrong PINs is not locked by a broker that tries again."""
        asked: list[str] = []

        def pin() -> str:
            asked.append(PIN)
            return PIN if len(asked) == 1 else "9999"

        signer = TokenSigner(TokenKey.read(token.uri("log")), pin)
        token.take_away()
        with pytest.raises(TokenUnavailable):
            signer.sign(b"head")
        token.bring_back()
        for said in ("refuses the PIN", "not tried again"):
            with pytest.raises(TokenUnavailable, match=said):
                signer.sign(b"head")
        assert len(asked) == 2

    @pytest.mark.parametrize(
        ("key", "said"),
        [
            ("absent", "has 0 objects"),
            ("twice", "has 2 objects"),
            ("p384", "Ed25519 or ECDSA P-256"),
        ],
    )
    def test_a_key_that_is_none_of_ours(self, token: Token, key: str, said: str) -> None:
        """A key that is not there, not the only one, or of another kind is refused."""
        with pytest.raises(TokenUnavailable, match=said):
            open_signer(token.uri(key))

    def test_another_token(self, token: Token) -> None:
        """A token that is not in a slot is named."""
        with pytest.raises(TokenUnavailable, match="is not there"):
            open_signer(token.uri("log").replace(token.label, "elsewhere"))

    def test_no_library(self, token: Token) -> None:
        """A library that cannot be loaded is an answer, not a crash."""
        uri = token.uri("log").replace("module-path=/", "module-path=/nowhere/")
        with pytest.raises(TokenUnavailable):
            open_signer(uri)

    def test_a_uri_that_is_none(self) -> None:
        """What cannot be held to is refused before a token is touched."""
        with pytest.raises(ConfigurationError, match="must name the token"):
            open_signer("pkcs11:object=log")


class TestPin:
    @pytest.mark.parametrize(
        ("text", "mode", "said"),
        [(b"1234", 0o644, "others may use"), (b"", 0o600, "is empty"), (b"\xff", 0o600, "UTF-8")],
    )
    def test_a_file_that_is_no_pin(self, tmp_path: Path, text: bytes, mode: int, said: str) -> None:
        """A file that others may read, or that holds no PIN, is refused without a word of it."""
        file = tmp_path / "pin"
        file.write_bytes(text)
        file.chmod(mode)
        with pytest.raises(TokenUnavailable, match=said) as caught:
            read_pin(f"file:{file}", {})
        assert "1234" not in str(caught.value)

    def test_one_line_end_is_no_part_of_it(self, tmp_path: Path) -> None:
        """What an editor leaves behind the PIN is not sent to the token."""
        file = tmp_path / "pin"
        file.write_bytes(b"12 34 \r\n")
        file.chmod(0o600)
        assert read_pin(f"file:{file}", {}) == "12 34 "
        assert read_pin("credential:pin", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "12 34 "

    def test_no_credentials(self) -> None:
        """Without systemd's folder a credential is nowhere."""
        with pytest.raises(TokenUnavailable, match="LoadCredential"):
            read_pin("credential:pin", {})


class TestWorker:
    def test_what_hangs_is_left_behind(self) -> None:
        """Who asks is told in time; nothing is begun behind what hangs, until it ends."""
        worker, go, ran = Worker(0.05), Event(), []
        with pytest.raises(Stuck):
            worker.do(go.wait)
        with pytest.raises(Stuck):
            worker.do(lambda: ran.append(1))
        go.set()
        assert self._done_at_last(worker) == "done"
        assert ran == []

    @staticmethod
    def _done_at_last(worker: Worker) -> str:
        while True:
            try:
                return worker.do(lambda: "done")
            except Stuck:
                continue

    def test_an_error_is_its_askers(self) -> None:
        """What the work raises is raised where it was asked for; the thread lives on."""
        worker = Worker(5)
        with pytest.raises(ZeroDivisionError):
            worker.do(lambda: 1 // 0)
        assert worker.do(lambda: 1) == 1
