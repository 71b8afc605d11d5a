"""Put together where bundles come from while the broker runs."""

from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from broker.activation import Activation
from broker.adapters.bundle_sources import Bearer, BundleServer, ConfirmationFile, WatchedFolder
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.bundle_checks import MAX_BUNDLE_BYTES
from broker.bundle_watch import BundleWatch
from broker.config import Config, fault_in
from broker.errors import SecretUnavailable
from broker.freshness import Announce, PolicyFreshness
from broker.ports import BundleSource, Clock, PolicyEngine, Store, Telemetry
from broker.tasks import Tasks

_TOKEN: Final = "bundle_token"  # noqa: S105 # its name


def open_source(
    config: Config, environment: MutableMapping[str, str], stack: AsyncExitStack
) -> BundleSource | None:
    """Open the source that is configured; None where there is none.

    Args:
        environment: The broker's own; loses the variable that has the token.
        stack: Closes it.

    Raises:
        ConfigurationError: A file that it needs cannot be read, or the broker could activate
            nothing of it; names file and line.
    """
    bundles = config.bundles
    if not bundles.is_set:
        return None
    if config.policy.opa_url:
        raise fault_in(
            config,
            ("bundles", "url" if bundles.url else "folder"),
            "policy.opa_url names an OPA server that gets its bundles itself: leave one empty",
        )
    source: BundleSource
    if bundles.folder is not None:
        source = WatchedFolder(
            bundles.folder, most_bytes=MAX_BUNDLE_BYTES, timeout_s=bundles.timeout_s
        )
    else:
        source = BundleServer(
            bundles.url,
            bearer=_bearer(config, environment, stack),
            ca_file=bundles.ca_file,
            timeout_s=bundles.timeout_s,
            most_bytes=MAX_BUNDLE_BYTES,
        )
    stack.push_async_callback(source.close)
    return source


async def open_freshness(
    config: Config,
    source: BundleSource | None,
    policy: PolicyEngine,
    *,
    store: Store,
    clock: Clock,
    telemetry: Telemetry,
) -> PolicyFreshness | None:
    """Take up what is known of the active bundle's confirmation; None without a source."""
    if source is None:
        return None
    freshness = PolicyFreshness(
        config.bundles.rule,
        engine=policy,
        source=source.name,
        keeper=confirmation_file(config),
        store=store,
        clock=clock,
        telemetry=telemetry,
    )
    await freshness.open()
    return freshness


async def first_look(
    config: Config,
    source: BundleSource | None,
    activation: Activation,
    freshness: PolicyFreshness | None,
    *,
    clock: Clock,
    telemetry: Telemetry,
) -> BundleWatch | None:
    """Look at the source for the first time; None without one.

    Where the source answers, calls are decided by its bundle from the first one on. Where it does
    not, the start goes on.
    """
    if source is None or freshness is None:
        return None
    every = timedelta(seconds=config.bundles.interval_s)
    watch = BundleWatch(
        source, activation, freshness, every=every, clock=clock, telemetry=telemetry
    )
    await watch.look()
    return watch


def go_on_looking(
    watch: BundleWatch | None,
    freshness: PolicyFreshness | None,
    announce: Announce,
    stack: AsyncExitStack,
) -> None:
    """Look again and again until the stack closes, with how fresh policy is told beside it."""
    if watch is None or freshness is None:
        return
    tasks = Tasks()
    # Once more at the end, so that the next life knows of the last confirmation.
    stack.push_async_callback(freshness.tell)
    stack.push_async_callback(tasks.cancel)
    tasks.start(freshness.run(announce))
    tasks.start(watch.run())


def confirmation_file(config: Config) -> ConfirmationFile:
    """Find where the last confirmation is kept, beside the store."""
    path = config.store.path
    return ConfirmationFile(path.with_name(f"{path.name}.policy-confirmed"))


def _bearer(
    config: Config, environment: MutableMapping[str, str], stack: AsyncExitStack
) -> Bearer | None:
    """Open the token, apart from the secrets that policy can grant to tools.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if not config.bundles.token:
        return None
    secrets = ConfiguredSecrets({_TOKEN: config.bundles.token}, environment)
    stack.callback(secrets.close)
    try:
        secrets.read_now(_TOKEN)
    except SecretUnavailable as error:
        raise fault_in(config, ("bundles", "token"), error.description) from error
    return Bearer(secrets=secrets, name=_TOKEN)
