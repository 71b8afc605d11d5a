"""Check a policy bundle that is to decide."""

from typing import Final

from broker.core.bundle import Bundle, read_bundle, unpack
from broker.core.bundle_json import unwritten
from broker.core.team_modes import mode_faults
from broker.core.trust_root import TrustRoot
from broker.errors import BundleInvalid, BundleNotNewer, ConfigurationError
from broker.verify.bundle import verify_bundle

MAX_BUNDLE_BYTES: Final = 16 * 2**20
"""Largest bundle that is read, as it comes, compressed."""

_NAME: Final = "the bundle"


def read_signed(archive: bytes, root: TrustRoot) -> Bundle:
    """Read a bundle that somebody sends.

    Raises:
        BundleInvalid: Too large, broken, or not signed by a policy key.
    """
    if len(archive) > MAX_BUNDLE_BYTES:
        raise BundleInvalid(
            f"has {len(archive)} bytes, more than {MAX_BUNDLE_BYTES}: take data out of it",
            reason="BUNDLE_TOO_LARGE",
        )
    try:
        # Before the rest is looked at: only what a policy key signed is worth it.
        verify_bundle(archive, root)
        return read_bundle(archive, _NAME)
    except ConfigurationError as error:
        # The field is named `bundle` already, so the file's name would say it twice.
        said = error.message.removeprefix(f"{_NAME}: ")
        raise BundleInvalid(f"{said}: `toolwarrant policy build --sign` makes one") from error


def check_form(bundle: Bundle) -> None:
    """Check what `toolwarrant policy build` sees to, of a bundle that is to become active.

    Raises:
        BundleInvalid: Its JSON is written in another way than the one, so that its digest is one
            of many under its signature; or it leaves open which of its packages count.
    """
    if others := unwritten(unpack(bundle.archive, _NAME)):
        raise BundleInvalid(
            f"has {others[0]} written in another way than the one that its digest stands for: "
            "build it again with `toolwarrant policy build --sign`",
            reason="BUNDLE_NOT_CANONICAL",
        )
    if faults := mode_faults(bundle.rego, bundle.data):
        raise BundleInvalid(
            f"leaves open which packages count: {faults[0]}; `toolwarrant policy check` lists all",
            reason="BUNDLE_MODE_OPEN",
        )


def check_newer(fresh: Bundle, before: Bundle) -> None:
    """Check that a bundle is a step forward.

    Raises:
        BundleNotNewer: It is none.
    """
    if not fresh.number:
        raise BundleNotNewer(
            f"{fresh.revision} has no number, so nobody could tell what it follows: build it with "
            "`toolwarrant policy build --sign`",
            reason="BUNDLE_UNNUMBERED",
        )
    if fresh.number == before.number:
        raise BundleNotNewer(
            f"{fresh.revision} has the number of the active {before.revision}, with other content: "
            "build it again, which gives it a number of its own",
            reason="BUNDLE_NUMBER_TAKEN",
        )
    if fresh.number < before.number:
        raise BundleNotNewer(
            f"{fresh.revision} is older than the active {before.revision}: to go back, build the "
            "older sources again",
        )
