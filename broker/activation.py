"""Exchange the policy bundle of a broker that takes calls."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.active_policy import ActivePolicy
from broker.core.bundle import Bundle, read_bundle, unpack
from broker.core.bundle_json import unwritten
from broker.core.canonical import JsonObject
from broker.core.ids import Sha256, sha256_hex
from broker.core.team_modes import mode_faults
from broker.core.trust_root import TrustRoot
from broker.errors import (
    BundleInvalid,
    BundleNotNewer,
    CanaryWrong,
    ConfigurationError,
    FailedPrecondition,
    PermissionDenied,
    PolicyError,
    PolicyTimeout,
    PolicyUndefined,
    Refusal,
    StaleBundle,
    StoreUnavailable,
    Unavailable,
)
from broker.people import People
from broker.ports import (
    Clock,
    EventDraft,
    KeptBundle,
    PolicyEngine,
    SandboxEngine,
    Store,
    Telemetry,
)
from broker.tasks import Tasks
from broker.verify.bundle import verify_bundle

MAX_BUNDLE_BYTES: Final = 16 * 2**20
"""Largest bundle that is read, as it comes, compressed."""

_NAME: Final = "the bundle"
_STORE_RETRY: Final = timedelta(seconds=1)

Load = Callable[[Bundle], Awaitable[PolicyEngine]]
"""Start an engine with a bundle; it has answered the canary then, or a PolicyError is raised."""

Keys = Callable[[], TrustRoot]
"""Give the trust root whose policy keys count at this moment. Blocking, from any thread.

Raises `Unavailable` where that cannot be told now: nothing is taken then.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activator:
    """Who activates: an identity, or a source that the operator configured; exactly one of them.

    Args:
        identity: The name in a certificate.
        source: Where the bundle comes from by itself, without any credential.
    """

    identity: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if bool(self.identity) == bool(self.source):
            raise ValueError("an identity activates, or a source: exactly one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """What is active now, and what was before.

    Args:
        is_new: False where this very bundle was active already: then nothing was done.
        previous_revision: Of the one before; the same where it is not new.
    """

    revision: str
    number: int
    sha256: Sha256
    is_new: bool
    previous_revision: str
    previous_number: int
    previous_sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an activation works with.

    Args:
        load: Makes the engine for a bundle.
        keys: Names the policy keys.
        external: Where the OPA server is that is not the broker's own; empty: there is none.
    """

    load: Load
    keys: Keys
    store: Store
    people: People
    sandboxes: SandboxEngine
    clock: Clock
    telemetry: Telemetry
    external: str = ""


class Activation:
    """Let another bundle decide, from one moment to the next. Used from one event loop.

    The new bundle is checked and loaded beside the old one. Then one transaction keeps its bytes,
    sets the premise that starts of calls rest on, and says who did it; when it is durable, and
    before anything else happens on the event loop, the engine is exchanged. What fails before
    leaves the old bundle as it was; a crash leaves the old one or the new one.
    """

    def __init__(self, policy: ActivePolicy, means: Means) -> None:
        self._policy = policy
        self._means = means
        self._tasks = Tasks()
        self._turn = asyncio.Lock()

    @property
    def active(self) -> Bundle:
        """Give the active bundle."""
        return self._policy.bundle

    async def activate(self, bundle: bytes, *, by: Activator) -> Activated:
        """Check a bundle, then let it decide.

        Goes on to its end where the one who waits for it is cancelled. The same bundle once more
        changes nothing.

        Raises:
            BundleInvalid: It is broken, not signed by a policy key, or decides nothing.
            BundleNotNewer: Its number is not above that of the active one.
            FailedPrecondition: An OPA server that is not the broker's own decides.
            StoreUnavailable: It could not be made durable, so the old one still decides.
            Unavailable: The machine could not start an engine for it, or read the trust root.
        """
        return await self._tasks.detached(self._activate(bundle, by))

    async def confirm(self, bundle: bytes, *, by: Activator) -> None:
        """Check that what was taken once could be taken still: its key may be withdrawn since.

        Raises:
            BundleInvalid: It could not, which is told and recorded; what is active stays.
            Unavailable: The trust root cannot be read.
        """
        try:
            await asyncio.to_thread(lambda: verify_bundle(bundle, self._means.keys()))
        except BundleInvalid as error:
            await self._note_refused(bundle, self._who(by), error)
            raise

    async def close(self) -> None:
        """Give up what is under way."""
        await self._tasks.cancel()

    async def _activate(self, archive: bytes, by: Activator) -> Activated:
        async with self._turn:
            who = self._who(by)
            try:
                return await self._exchange(archive, who)
            except Refusal as error:
                await self._note_refused(archive, who, error)
                raise

    async def _exchange(self, archive: bytes, who: JsonObject) -> Activated:
        self._refuse_external()
        # Unpacking what is large takes its time, which calls are not to wait for.
        fresh = await asyncio.to_thread(lambda: read_signed(archive, self._means.keys()))
        before = self._policy.bundle
        if fresh.sha256 == before.sha256:
            return _activated(fresh, before)
        check_newer(fresh, before)
        await asyncio.to_thread(check_form, fresh)
        engine = await self._load(fresh)
        try:
            await self._keep(fresh, before, who)
        # A cancellation, too: nobody else knows of the engine that was loaded.
        except BaseException:
            await engine.close()
            raise
        # In the step that learns of the commit, before those whose starts it refuses learn of that:
        # they ask the new bundle at once.
        self._policy.exchange(engine, fresh)
        self._means.sandboxes.renew()
        self._means.telemetry.policy_active(fresh.revision, before.revision)
        return _activated(fresh, before)

    async def _load(self, bundle: Bundle) -> PolicyEngine:
        try:
            return await self._try(bundle)
        except PolicyError as error:
            if _is_its_own(error):
                raise _unfit(error) from error
        # An engine's words do not tell whose fault it was. Where the machine is at its end, it has
        # no engine for the active bundle either; and what fails twice, with that one loaded in
        # between, is told of the bundle, which is then never tried again.
        await self._try_active()
        try:
            return await self._try(bundle)
        except PolicyError as error:
            raise _unfit(error) from error

    async def _try_active(self) -> None:
        try:
            engine = await self._try(self._policy.bundle)
        except PolicyError as error:
            raise Unavailable(
                f"no engine could be started for it, nor another for the active one "
                f"({error.message}); look at the broker's machine: memory, processes, open files"
            ) from error
        await engine.close()

    async def _try(self, bundle: Bundle) -> PolicyEngine:
        try:
            return await self._means.load(bundle)
        # A disk that is full, a process or thread that cannot be had: not the bundle's fault.
        except (OSError, MemoryError, RuntimeError) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unavailable(
                f"no engine could be started for it: {said}; look at the broker's machine"
            ) from error

    async def _keep(self, fresh: Bundle, before: Bundle, who: JsonObject) -> None:
        means = self._means
        event = activation_event(fresh, before, who, means.clock.now())
        try:
            await means.store.keep_bundle(kept(fresh), event)
        except StaleBundle as error:
            raise BundleNotNewer(error.message) from error
        except StoreUnavailable as error:
            if not await self._was_kept(fresh, error):
                raise

    async def _was_kept(self, fresh: Bundle, error: StoreUnavailable) -> bool:
        """Find out whether a change whose answer was lost was made."""
        means = self._means
        while True:
            try:
                stored = await means.store.kept_bundle()
            except StoreUnavailable:
                means.telemetry.alarm("an activation waits for the store", error)
                await means.clock.sleep_until(means.clock.now() + _STORE_RETRY)
            else:
                return stored is not None and stored.sha256 == fresh.sha256

    def _refuse_external(self) -> None:
        if self._means.external:
            raise FailedPrecondition(
                f"an OPA server that is not the broker's decides, {self._means.external}: give "
                "it the bundle, name the same file as `bundle` in [policy], restart the broker",
                subject="policy.bundle",
                reason="POLICY_ENGINE_EXTERNAL",
            )

    def _who(self, by: Activator) -> JsonObject:
        if by.source:
            return {"source": by.source}
        people = self._means.people
        identity = people.identity(by.identity)
        if identity is None:
            raise PermissionDenied("this identity is not known, or has expired")
        return {"by": people.actor(identity)}

    async def _note_refused(self, archive: bytes, who: JsonObject, error: Refusal) -> None:
        """Record an attempt; that it cannot be recorded is no reason to take the bundle."""
        means = self._means
        means.telemetry.alarm("a policy bundle was refused", error)
        data = {**who, "archive": sha256_hex(archive), "reason": error.reason}
        event = EventDraft(type="policy.refused", at=means.clock.now(), data=data)
        try:
            await means.store.append_event(event)
        except StoreUnavailable as fault:
            means.telemetry.alarm("a refused bundle is not in the record", fault)


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


def kept(bundle: Bundle) -> KeptBundle:
    """Give what a store keeps of a bundle with a number."""
    return KeptBundle(
        number=bundle.number,
        revision=bundle.revision,
        sha256=bundle.sha256,
        archive=bundle.archive,
    )


def activation_event(
    fresh: Bundle, before: Bundle | KeptBundle | None, who: JsonObject, at: datetime
) -> EventDraft:
    """Say which bundle decides from now on, and at whose word.

    Args:
        before: What decided until now; None where nothing is known to have.
        who: `by` or `source`, as in `Activator`.
        at: Aware UTC.
    """
    data: JsonObject = {
        **who,
        "revision": fresh.revision,
        "number": fresh.number,
        "bundle": fresh.sha256,
        "previous_revision": before.revision if before else "",
        "previous": before.sha256 if before else "",
    }
    return EventDraft(type="policy.activated", at=at, data=data)


def _is_its_own(error: PolicyError) -> bool:
    """Tell whether an engine failed for what the bundle answers, whatever the machine."""
    if isinstance(error, PolicyUndefined):
        return True
    return isinstance(error, CanaryWrong) and not isinstance(error.__cause__, PolicyTimeout)


def _unfit(error: PolicyError) -> BundleInvalid:
    """Say why a bundle that was loaded may not decide."""
    if isinstance(error, PolicyUndefined) or isinstance(error.__cause__, PolicyUndefined):
        return BundleInvalid(error.message, reason="BUNDLE_UNDEFINED")
    if isinstance(error, CanaryWrong):
        return BundleInvalid(error.message, reason="BUNDLE_CANARY_WRONG")
    return BundleInvalid(error.message, reason="BUNDLE_UNUSABLE")


def _activated(fresh: Bundle, before: Bundle) -> Activated:
    return Activated(
        revision=fresh.revision,
        number=fresh.number,
        sha256=fresh.sha256,
        is_new=fresh.sha256 != before.sha256,
        previous_revision=before.revision,
        previous_number=before.number,
        previous_sha256=before.sha256,
    )
