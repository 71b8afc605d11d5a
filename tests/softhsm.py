"""Make PKCS#11 tokens in software, each in a folder of its own."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

PIN = "4711-token"
_ED25519 = bytes.fromhex("06032b6570")
_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def module() -> str:
    """Find SoftHSM's library."""
    named = os.environ.get("SOFTHSM_MODULE")
    return named or next(place for place in _PLACES if Path(place).exists())


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, whose folder can be taken away like a device from its slot."""

    folder: Path
    label: str

    @property
    def conf(self) -> Path:
        """What SOFTHSM2_CONF has to name in every process that uses the token."""
        return self.folder / "softhsm2.conf"

    @property
    def pin_file(self) -> Path:
        """Where the PIN is."""
        return self.folder / "pin"

    def uri(self, key: str) -> str:
        """Name a key on it."""
        query = f"module-path={module()}&pin-source=file:{quote(str(self.pin_file))}"
        return f"pkcs11:token={self.label};object={key};type=private?{query}"

    def take_away(self) -> None:
        """Let it be gone."""
        (self.folder / "tokens").rename(self.folder / "gone")

    def bring_back(self) -> None:
        """Let it be there again."""
        (self.folder / "gone").rename(self.folder / "tokens")

    def make_key(self, name: str, algorithm: str = "ed25519", number: int = 1) -> None:
        """Generate a key that never leaves it."""
        library = pkcs11.lib(module())
        library.reinitialize()
        session = library.get_token(token_label=self.label).open(user_pin=PIN, rw=True)
        if algorithm == "ed25519":
            kind, params = KeyType.EC_EDWARDS, _ED25519
            mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        else:
            kind, params = KeyType.EC, encode_named_curve_parameters(algorithm)
            mechanism = Mechanism.EC_KEY_PAIR_GEN
        domain = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: params}, local=True)
        domain.generate_keypair(mechanism=mechanism, store=True, label=name, id=bytes([number]))
        session.close()


def new_token(folder: Path, label: str = "toolwarrant-test") -> Token:
    """Make a token; the caller sets SOFTHSM2_CONF before it makes keys."""
    token = Token(folder=folder, label=label)
    (folder / "tokens").mkdir(parents=True)
    token.conf.write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    token.pin_file.write_text(f"{PIN}\n")
    token.pin_file.chmod(0o600)
    argv = ["softhsm2-util", "--init-token", "--free", "--label", label]
    subprocess.run(
        [*argv, "--pin", PIN, "--so-pin", "so-" + PIN],
        env={**os.environ, "SOFTHSM2_CONF": str(token.conf)},
        check=True,
        capture_output=True,
    )
    return token
