"""End what was open in a store that was put back from a backup."""

from broker.config import Config
from broker.core.call import Cause
from broker.core.lifecycle import Step
from broker.finish import finish
from broker.ports import RESTORED_PREMISE, EventDraft
from broker.sandboxes import docker_engine
from broker.world import World


async def end_what_was_open(config: Config, world: World, boot: str) -> None:
    """Let nothing of a restored store's earlier ids go on: no container, no call, no approval.

    A call that was open in the backup may have run since, whatever its state there: it ends
    INTERRUPTED, never run again. Before the first call is taken, so that all that is open is old. A
    crash in between leaves the rest to the next start.

    Raises:
        SandboxError: The Engine does not answer, so nothing can be said of those calls.
        StoreError: The record did not take it.
    """
    before = await world.store.premise(RESTORED_PREMISE)
    if not before:
        return
    for installation in before.split():
        # Its containers bear that id: the ordinary sweep passes them over.
        engine = docker_engine(config, installation, boot)
        try:
            await engine.sweep()
        finally:
            await engine.close()
    calls = await world.store.open_calls()
    world.ledger.restore(calls)
    for call in calls:
        await finish(world, call, Step.INTERRUPT, Cause.STORE_RESTORED)
    ended = EventDraft(
        type="store.restored", at=world.clock.now(), data={"ended_calls": str(len(calls))}
    )
    await world.store.set_premise(RESTORED_PREMISE, "", ended)
