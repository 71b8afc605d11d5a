"""Kill a broker at random moments under load; prove after the last that nothing was lost."""

import random
import time

from tests.broker_process import Served
from tests.e2e.crash.load import Load
from tests.e2e.crash.proof import Record, check_log, check_record, read_record

MOST_ANSWERS = 6
LATEST_S = 0.3


def survive(served: Served, *, seed: int, moments: int, workers: int) -> tuple[Load, Record]:
    """Kill and restart a broker this often, each time at a random moment.

    Fails where something that a client was told is not so, or a container is left.
    """
    chance = random.Random(seed)
    load = Load(served, seed, workers=workers)
    load.start()
    store, trust_root = served.folder.store, served.folder.path / "trust-root.json"
    kept: bytes | None = None
    for _ in range(moments):
        load.wait_for_answers(chance.randint(1, MOST_ANSWERS))
        # Right after an answer is one moment of many.
        time.sleep(chance.uniform(0, LATEST_S))
        load.dies()
        served.kill()
        record = read_record(store)
        check_record(record, trust_root)
        kept = check_log(record, store, trust_root, kept)
        served.start()
        load.born()
    load.end()
    assert served.stop() == 0
    record = read_record(store)
    check_record(record, trust_root)
    # A broker that stops in order leaves nothing out of its log.
    last = check_log(record, store, trust_root, kept)
    assert last is not None
    assert int(last.splitlines()[1]) == len(record.entries)
    assert record.epoch == moments + 1
    assert all(state.is_final for state in record.states.values())
    told = {call: record.states[call].value for call in load.acknowledged}
    assert told == load.acknowledged
    return load, record
