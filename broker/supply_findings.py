"""Find what keeps policy bundles from coming."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime

from broker.bundle_supply import confirmation_file, open_source
from broker.config import Config
from broker.config_bundles import BundlesSection
from broker.config_types import is_services_own
from broker.core.freshness import Freshness
from broker.core.instant import rfc3339
from broker.errors import BundleSourceUnavailable, ConfigurationError, SecretUnavailable
from broker.finding import Finding, Level, fail, ok, warn

_SOURCE = "bundle source"
_FRESHNESS = "policy freshness"
_LEVELS = {
    Freshness.FRESH: Level.OK,
    Freshness.STALE: Level.WARN,
    Freshness.REFUSING: Level.FAIL,
}
_SAYS = {
    Freshness.FRESH: "",
    Freshness.STALE: ": stale",
    Freshness.REFUSING: ": every call is denied until it is confirmed again",
}


def supply(config: Config, environment: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    """Look at the source once, then at what a running broker last knew of it. Blocking: seconds.

    Args:
        now: Aware UTC.
    """
    if not config.bundles.is_set:
        yield ok(_SOURCE, "none: a new policy comes by ActivateBundle or with a restart")
        return
    yield asyncio.run(_source(config, environment))
    yield _freshness(config, now)


async def _source(config: Config, environment: Mapping[str, str]) -> Finding:
    async with AsyncExitStack() as stack:
        try:
            # Of a copy: what is read here is to stay where the broker finds it.
            source = open_source(config, dict(environment), stack)
            assert source is not None
            archive = await source.look() or b""
        except ConfigurationError as error:
            is_token = isinstance(error.__cause__, SecretUnavailable)
            if is_token and is_services_own(config.bundles.token):
                remedy = "run doctor as the service runs, or see whether the service has it"
                return warn(_SOURCE, f"cannot be told here: {error}", remedy)
            return fail(_SOURCE, str(error), "mend [bundles]")
        except BundleSourceUnavailable as error:
            remedy = f"mend [bundles], or what it names: until then {_until(config.bundles)}"
            return warn(_SOURCE, error.message, remedy)
        return ok(_SOURCE, f"{source.name}, {len(archive)} bytes")


def _until(bundles: BundlesSection) -> str:
    if not bundles.refuse_after_s:
        return "the last bundle decides"
    return "the last bundle decides, for refuse_after_s; then every call is denied"


def _freshness(config: Config, now: datetime) -> Finding:
    kept = confirmation_file(config).read_now()
    if kept is None:
        return ok(_FRESHNESS, "nothing is known yet: a start looks at the source first")
    state = config.bundles.rule.judge(kept.at, now)
    said = f"a bundle was last confirmed at {rfc3339(kept.at)}{_SAYS[state]}"
    remedy = "" if state is Freshness.FRESH else "see that the broker runs and reaches its source"
    return Finding(_LEVELS[state], _FRESHNESS, said, remedy)
