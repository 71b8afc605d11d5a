"""Let a folder supply the bundles of a broker on fakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from broker.activation import Activation, Activator, Means
from broker.active_policy import ActivePolicy
from broker.adapters.bundle_sources import FILE_NAME, ConfirmationFile, WatchedFolder
from broker.bundle_watch import BundleWatch
from broker.core.bundle import Bundle, read_bundle
from broker.core.freshness import FreshnessRule
from broker.core.ids import Sha256
from broker.core.trust_root import TrustRoot
from broker.errors import PolicyUnavailable, PolicyUndefined, Unavailable
from broker.freshness import PolicyFreshness
from tests.bundles.signed import Team, numbered
from tests.story.fake_policy import ALLOW, FakePolicy
from tests.story.stage import ALLOWED, Stage

EVERY = timedelta(seconds=30)
STALE_AFTER = timedelta(seconds=900)
REFUSE_AFTER = timedelta(seconds=3600)
UNUSABLE = "decides nothing"
_NO_LIMIT = 1 << 30


class Loaded(FakePolicy):
    """A `FakePolicy` that has loaded a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__({ALLOWED: ALLOW})
        self._bundle = bundle

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle."""
        return self._bundle.sha256

    @property
    def bundle_revision(self) -> str:
        """Revision of the bundle."""
        return self._bundle.revision


async def load(bundle: Bundle) -> Loaded:
    """Load a bundle, unless its revision says that this fails."""
    if bundle.revision == UNUSABLE:
        raise PolicyUndefined("the canary has no answer")
    return Loaded(bundle)


@dataclass(slots=True, kw_only=True)
class Around:
    """What a broker finds around it, which a test changes.

    Args:
        machine_lacks: What an engine says that cannot be had; empty: nothing.
    """

    root: TrustRoot
    is_root_readable: bool = True
    machine_lacks: str = ""

    def keys(self) -> TrustRoot:
        """Read the trust root."""
        if not self.is_root_readable:
            raise Unavailable("the trust root cannot be read")
        return self.root

    async def load(self, bundle: Bundle) -> Loaded:
        """Load a bundle, as far as the machine has what that takes."""
        if self.machine_lacks:
            raise PolicyUnavailable(self.machine_lacks)
        return await load(bundle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """A broker with its folder."""

    around: Around
    stage: Stage
    team: Team
    file: Path
    source: WatchedFolder
    policy: ActivePolicy
    activation: Activation
    freshness: PolicyFreshness
    watch: BundleWatch

    def put(self, archive: bytes) -> None:
        """Rename a bundle into the folder."""
        fresh = self.file.with_name("fresh")
        fresh.write_bytes(archive)
        fresh.replace(self.file)

    async def activate(self, number: int) -> None:
        """Activate a bundle past the folder."""
        await self.activation.activate(
            self.team.bundle(number), by=Activator(source="somebody else")
        )

    async def events(self) -> list[str]:
        """List what the record says of policy."""
        found = await self.stage.life.world.store.events(after=0, limit=1000)
        return [event.type for event in found if event.type.startswith("policy.")]


@asynccontextmanager
async def supplied(
    path: Path, stage: Stage, team: Team, *, refuse_after: timedelta | None = REFUSE_AFTER
) -> AsyncIterator[Supplied]:
    """Start a broker that was left with bundle 5; the folder is there, with nothing in it."""
    life = await stage.start()
    store, clock, alarms = life.world.store, stage.clock, stage.alarms
    bundle = read_bundle(numbered(5), "active")
    policy = ActivePolicy(Loaded(bundle), bundle, alarms)
    around = Around(root=TrustRoot(version=1, keys=(team.key.trusted,)))
    means = Means(
        load=around.load,
        keys=around.keys,
        store=store,
        people=life.world.people,
        sandboxes=life.sandboxes,
        clock=clock,
        telemetry=alarms,
    )
    activation = Activation(policy, means)
    source = WatchedFolder(path, most_bytes=_NO_LIMIT, timeout_s=60, settle=lambda: None)
    freshness = PolicyFreshness(
        FreshnessRule(stale_after=STALE_AFTER, refuse_after=refuse_after),
        engine=policy,
        source=source.name,
        keeper=ConfirmationFile(path / "confirmed"),
        store=store,
        clock=clock,
        telemetry=alarms,
    )
    await freshness.open()
    yield Supplied(
        around=around,
        stage=stage,
        team=team,
        file=path / FILE_NAME,
        source=source,
        policy=policy,
        activation=activation,
        freshness=freshness,
        watch=BundleWatch(
            source, activation, freshness, every=EVERY, clock=clock, telemetry=alarms
        ),
    )
    await activation.close()
    await source.close()
    await policy.close()
