"""Let a log grow in a loop, printing the size of each head that is shown, to be killed any time."""

import asyncio
import itertools
import random
import sys
from pathlib import Path

from broker.adapters.file_signer import FileSigner
from broker.adapters.log_files import LogFolder
from broker.core.lifecycle import CallState
from broker.log import Log
from broker.ports import Store
from tests.log.fakes import ORIGIN
from tests.ports.fake_clock import FakeClock
from tests.ports.samples import first, new_call
from tests.ports.shelf import SqliteShelf
from tests.story.stage import Alarms


async def end_calls(store: Store, numbers: "itertools.count[int]") -> None:
    """End calls for ever, some at once."""
    chance = random.Random(next(numbers))
    while True:
        batch = [next(numbers) for _ in range(chance.randint(1, 40))]
        await asyncio.gather(
            *(store.commit(first(new_call(number, CallState.DENIED))) for number in batch)
        )


async def main(folder: Path, start: int) -> None:
    """Take the log up, advance it for ever."""
    store = await SqliteShelf(folder / "store.db").open()
    log = Log(
        store,
        LogFolder(folder / "log"),
        FileSigner(f"file:{folder / 'log.key'}"),
        origin=ORIGIN,
        clock=FakeClock(),
        telemetry=Alarms(),
    )
    await log.open()
    ending = asyncio.create_task(end_calls(store, itertools.count(start)))
    while not ending.done():
        await log.advance()
        print((await log.head()).size, flush=True)
    await ending


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
