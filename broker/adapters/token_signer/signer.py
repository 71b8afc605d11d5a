"""Answer the signer's port from a PKCS#11 token."""

from collections.abc import Callable
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11.exceptions import (
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
)

from broker.adapters.token_signer.session import KeyOnToken, PublicKey, open_key
from broker.adapters.token_signer.worker import Stuck, Worker
from broker.core.ids import Sha256, sha256_hex
from broker.core.token_key import TokenKey
from broker.errors import TokenUnavailable

WITHIN_S: Final = 10.0
_PIN_REFUSED: Final = (PinIncorrect, PinLocked, PinInvalid, PinLenRange, PinExpired)

T = TypeVar("T")


class TokenSigner:
    """A `Signer` by URI `pkcs11:...`: Ed25519 or ECDSA P-256. Thread-safe; one signature at a time.

    A session that breaks is opened anew by the next signature. A PIN that the token refuses is
    never tried again: a token counts wrong ones, and locks itself.

    Args:
        name: Which key.
        read_pin: Gives the PIN; asked each time that a session is opened, and never kept.
        within_s: How long the token may take.

    Raises:
        TokenUnavailable: It does not answer, has no such key, or one of another kind.
    """

    def __init__(
        self, name: TokenKey, read_pin: Callable[[], str], *, within_s: float = WITHIN_S
    ) -> None:
        self._name = name
        self._read_pin = read_pin
        self._worker = Worker(within_s)
        self._key: KeyOnToken | None = None
        self._is_pin_refused = False
        self._public: PublicKey = self._do(self._open).public
        encoding, form = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        self._key_id = sha256_hex(self._public.public_bytes(encoding.DER, form))
        self._public_key_pem = self._public.public_bytes(encoding.PEM, form).decode()

    @property
    def key_id(self) -> Sha256:
        """SHA-256 of the public key's SPKI DER."""
        return self._key_id

    @property
    def public_key_pem(self) -> str:
        """SPKI PEM of the public key."""
        return self._public_key_pem

    def sign(self, message: bytes) -> bytes:
        """Sign a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER).

        Raises:
            TokenUnavailable: The token does not sign now; ask again later.
        """
        signature = self._do(lambda: self._sign(message))
        # Nothing goes out that no reader would take: a token can be faulty, too.
        try:
            if isinstance(self._public, Ed25519PublicKey):
                self._public.verify(signature, message)
            else:
                self._public.verify(signature, message, ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise TokenUnavailable(f"{self._name.place} gave a signature that is none") from error
        return signature

    def _do(self, work: Callable[[], T]) -> T:
        place = self._name.place
        try:
            return self._worker.do(work)
        except Stuck as error:
            raise TokenUnavailable(f"{place} does not answer") from error
        except _PIN_REFUSED as error:
            self._is_pin_refused = True
            raise TokenUnavailable(f"{place} refuses the PIN ({type(error).__name__})") from error
        except (PKCS11Error, OSError, RuntimeError) as error:
            said = f"{type(error).__name__} {error}".strip()
            raise TokenUnavailable(f"{place} failed: {said}") from error

    def _sign(self, message: bytes) -> bytes:
        key = self._key or self._open()
        if key.public != self._public:
            raise TokenUnavailable(f"{self._name.place} has another key than at the start: restart")
        # Of a session that broke nothing is of use: unless this goes well, the next is a new one.
        self._key = None
        signature = key.sign(message)
        self._key = key
        return signature

    def _open(self) -> KeyOnToken:
        if self._is_pin_refused:
            raise TokenUnavailable(
                f"{self._name.place} refused the PIN, which is not tried again: mend it, restart"
            )
        self._key = open_key(self._name, self._read_pin())
        return self._key
