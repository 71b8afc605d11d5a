"""Judge for `doctor` the policy that the next start goes by."""

from collections.abc import Iterator

from broker.adapters.sqlite_store import last_bundle
from broker.bundle_choice import KEPT, configured_bundle, next_bundle
from broker.config import Config
from broker.core.bundle import Bundle
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.finding import Finding, fail, ok
from broker.policy_engine import engine_findings
from broker.ports import KeptBundle
from broker.root_file import open_root, read_root_text

_SUBJECT = "policy bundle"


def policy_findings(config: Config) -> Iterator[Finding]:
    """Judge bundle and engine as a start would. Blocking: a bundle of one's own is loaded."""
    bundle, finding = _bundle(config)
    yield finding
    yield from engine_findings(config.policy, bundle)


def _bundle(config: Config) -> tuple[Bundle | None, Finding]:
    policy, file = config.policy, config.receipts.trust_root
    try:
        root = open_root(file, read_root_text(file))
    except (ConfigurationError, ReceiptInvalid):
        said = f"cannot be checked before {file} can be used"
        return None, fail(_SUBJECT, said, "first do what is said of receipt key")
    try:
        configured = configured_bundle(policy, root)
        last = last_bundle(config.store.path)
        bundle = next_bundle(configured, last, policy, root)
    except ConfigurationError as error:
        return None, fail(_SUBJECT, str(error), _remedy(error))
    return bundle, ok(_SUBJECT, f"{bundle.revision}, {bundle.sha256}, {_why(bundle, last, config)}")


def _remedy(error: ConfigurationError) -> str:
    if error.file == KEPT:
        return (
            "a start is refused: let an active policy key sign it anew, or a newer one, and name "
            "that by [policy] bundle"
        )
    return 'mend [policy] bundle; "": the shipped one'


def _why(bundle: Bundle, last: KeptBundle | None, config: Config) -> str:
    """Say where the bundle comes from, as it need not be the one that is configured."""
    own = config.policy.bundle
    if last is None or last.sha256 != bundle.sha256:
        return "decides from the next start on" if last else f"{own or 'the shipped one'}"
    return "active last" if own is None else f"active last; configured is {own}"
