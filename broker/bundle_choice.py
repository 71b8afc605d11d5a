"""Choose the policy bundle that a broker starts with."""

from broker.activation import activation_event, check_form, check_newer, kept
from broker.adapters.policy_files import load_bundle
from broker.config_policy import PolicySection
from broker.core.bundle import Bundle, read_bundle
from broker.core.trust_root import TrustRoot
from broker.errors import BundleInvalid, BundleNotNewer, ConfigurationError
from broker.ports import Clock, KeptBundle, Store, Telemetry
from broker.shipped import policies_dir
from broker.verify.bundle import verify_bundle

_SOURCE = "configuration"
KEPT = "the policy bundle that was active last"
"""Names it in messages, where another's file stands."""


def configured_bundle(policy: PolicySection, root: TrustRoot) -> Bundle:
    """Read the bundle that the configuration names, the shipped one where it names none.

    Raises:
        ConfigurationError: It cannot be read, or is not signed as it has to be.
    """
    shipped = _shipped()
    if policy.bundle is None:
        return shipped
    bundle = load_bundle(policy.bundle)
    _check_signed(bundle, policy, root, str(policy.bundle))
    return bundle


def next_bundle(
    configured: Bundle, last: KeptBundle | None, policy: PolicySection, root: TrustRoot
) -> Bundle:
    """Tell by which bundle a start goes: the configured one or the last, whichever is newer.

    Args:
        last: The one that was active last, where the store has it.

    Raises:
        ConfigurationError: That one cannot be used any more.
    """
    if last is not None and last.sha256 == configured.sha256:
        # By its own signature, which counts where the key of the kept one's has come to its end.
        return configured
    if last is not None and last.number >= configured.number:
        bundle = read_bundle(last.archive, KEPT)
        _check_signed(bundle, policy, root, KEPT)
        return bundle
    if configured.sha256 != _shipped().sha256:
        _check_form(configured, str(policy.bundle))
    return configured


async def first_bundle(
    configured: Bundle,
    policy: PolicySection,
    root: TrustRoot,
    store: Store,
    clock: Clock,
    telemetry: Telemetry,
) -> Bundle:
    """Choose between the configured bundle and the one that was active last; the newer counts.

    The one that is chosen is what the next start goes on with, where it has a number.

    Raises:
        ConfigurationError: The one that was active last cannot be used any more.
    """
    last = await store.kept_bundle()
    bundle = next_bundle(configured, last, policy, root)
    if last is not None and last.sha256 == bundle.sha256:
        _tell(bundle, configured, policy, telemetry)
        return bundle
    if configured.number:
        event = activation_event(configured, last, {"source": _SOURCE}, clock.now())
        await store.keep_bundle(kept(configured), event)
    telemetry.policy_active(configured.revision, last.revision if last else "")
    return configured


def _tell(bundle: Bundle, configured: Bundle, policy: PolicySection, telemetry: Telemetry) -> None:
    """Say that it is not the configured bundle that decides, where it is another one."""
    if policy.bundle is None or bundle.sha256 == configured.sha256:
        telemetry.policy_active(bundle.revision, "")
        return
    try:
        check_newer(configured, bundle)
    except BundleNotNewer as error:
        # An older one is what a file is that stayed as it was while newer ones were activated.
        if error.reason != BundleNotNewer.reason:
            telemetry.alarm(f"{policy.bundle} was not taken, {bundle.revision} decides", error)
    telemetry.policy_active(bundle.revision, configured.revision)


def _check_signed(bundle: Bundle, policy: PolicySection, root: TrustRoot, file: str) -> None:
    """Refuse a bundle that nobody vouches for.

    Raises:
        ConfigurationError: Neither a policy key does, nor the package, nor the operator.
    """
    # What the package carries is as trustworthy as the broker itself.
    if bundle.sha256 == _shipped().sha256:
        return
    try:
        verify_bundle(bundle.archive, root)
    except BundleInvalid as error:
        if error.reason != "BUNDLE_UNSIGNED":
            raise ConfigurationError(file, None, error.description) from error
        if not policy.unsigned_bundle:
            remedy = f"{error.description}; or set unsigned_bundle in [policy] while you try things"
            raise ConfigurationError(file, None, remedy) from error


def _check_form(bundle: Bundle, file: str) -> None:
    """Refuse what could not be activated either.

    Raises:
        ConfigurationError: Its form is open; see `check_form`.
    """
    try:
        check_form(bundle)
    except BundleInvalid as error:
        raise ConfigurationError(file, None, f"{error.description} ({error.reason})") from error


def _shipped() -> Bundle:
    return load_bundle(policies_dir() / "bundle.tar.gz")
