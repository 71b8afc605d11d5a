"""Let a log grow in a loop, printing the size of each head that is shown, to be killed any time."""

import asyncio
import itertools
import random
import sys
from pathlib import Path

from broker.adapters.file_signer import FileSigner
from broker.adapters.log_files import ShownLog
from broker.adapters.system import SystemEntropy
from broker.core.lifecycle import CallState, Step
from broker.log import Log
from broker.ports import Store
from tests.log.fakes import ORIGIN, leaf_of
from tests.ports.fake_clock import FakeClock
from tests.ports.samples import event, first, following, new_call
from tests.ports.shelf import SqliteShelf
from tests.story.stage import Alarms


async def end_calls(store: Store, numbers: "itertools.count[int]") -> None:
    """Deny, start and end calls for ever, some at once; tell of keys and halts between."""
    chance = random.Random(next(numbers))
    while True:
        batch = [next(numbers) for _ in range(chance.randint(1, 40))]
        await asyncio.gather(*(live(store, number) for number in batch))
        await store.append_event(event(chance.choice(["key.in_use", "halt.lifted", "clock.set"])))


async def live(store: Store, number: int) -> None:
    """Deny a call, or take it to its end; leave some running."""
    if number % 3 == 0:
        await store.commit(first(new_call(number, CallState.DENIED)))
        return
    call = new_call(number)
    await store.commit(first(call))
    started = following(call, Step.START)
    await store.commit(started)
    if number % 7:
        await store.commit(following(started.call, Step.SUCCEED))


async def main(folder: Path, start: int) -> None:
    """Take the log up, advance it for ever."""
    store = await SqliteShelf(folder / "store.db").open()
    log = Log(
        store,
        ShownLog(folder / "log"),
        FileSigner(f"file:{folder / 'log.key'}"),
        origin=ORIGIN,
        write=leaf_of,
        clock=FakeClock(),
        entropy=SystemEntropy(),
        telemetry=Alarms(),
    )
    await log.open()
    ending = asyncio.create_task(end_calls(store, itertools.count(start)))
    while not ending.done():
        await store.close_batch(bytes(16))
        await log.advance()
        print((await log.head()).size, flush=True)
    await ending


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
