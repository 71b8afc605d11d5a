"""Answer by the policy bundle that is active."""

from dataclasses import dataclass

from broker.core.bundle import Bundle
from broker.core.ids import Sha256
from broker.ports import PolicyAnswer, PolicyEngine, Telemetry
from broker.tasks import Tasks


@dataclass(slots=True, kw_only=True)
class _Seat:
    """A bundle with the engine that has loaded it, and how many evaluations are under way."""

    bundle: Bundle
    engine: PolicyEngine
    asking: int = 0


class ActivePolicy:
    """A `PolicyEngine` whose bundle can be exchanged while it answers.

    Each evaluation is one bundle's from its beginning to its end: it goes to the engine that is
    active when it is asked, and its answer names that engine's bundle. An engine that was exchanged
    is closed with its last evaluation. Used from one event loop.

    Args:
        engine: Has loaded the bundle; closed here.
    """

    def __init__(self, engine: PolicyEngine, bundle: Bundle, telemetry: Telemetry) -> None:
        self._seat = _Seat(bundle=bundle, engine=engine)
        self._telemetry = telemetry
        self._tasks = Tasks()

    @property
    def name(self) -> str:
        """`wasm` or `opa`."""
        return self._seat.engine.name

    @property
    def bundle(self) -> Bundle:
        """The active bundle."""
        return self._seat.bundle

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the active bundle."""
        return self._seat.bundle.sha256

    @property
    def bundle_revision(self) -> str:
        """Revision of the active bundle."""
        return self._seat.bundle.revision

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Ask policy about one input; see `PolicyEngine`."""
        seat = self._seat
        seat.asking += 1
        try:
            return await seat.engine.evaluate(policy_input)
        finally:
            seat.asking -= 1
            self._leave(seat)

    def exchange(self, engine: PolicyEngine, bundle: Bundle) -> None:
        """Let another engine answer from now on; nothing waits in between."""
        before, self._seat = self._seat, _Seat(bundle=bundle, engine=engine)
        self._leave(before)

    async def close(self) -> None:
        """Stop the active engine; evaluations under way on it end in PolicyUnavailable.

        One that was exchanged ends with its last evaluation, which has a deadline.
        """
        await self._seat.engine.close()
        await self._tasks.done()

    def _leave(self, seat: _Seat) -> None:
        if seat is not self._seat and not seat.asking:
            self._tasks.start(self._close(seat.engine))

    async def _close(self, engine: PolicyEngine) -> None:
        try:
            await engine.close()
        except Exception as error:
            # It answers nobody any more; what it holds goes with the process.
            self._telemetry.alarm("a policy engine that was exchanged could not be closed", error)
