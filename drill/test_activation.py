"""A policy that is exchanged without end, by a broker that is killed without end."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue

import pytest

from broker.adapters.sqlite_store.call_record import load_call
from broker.client import ClientError
from broker.shipped import policies_dir
from tests.activation.bundles import Key, read, variant
from tests.broker_process import Served
from tests.e2e.crash.conftest import Start
from tests.e2e.crash.load import Load
from tests.e2e.crash.proof import check_record, read_record

LATEST_S = 1.5
WAIT_S = 120


@pytest.mark.timeout(3600)
def test_random_moments(start: Start, is_short: bool, seed: int) -> None:
    """Each life has the last bundle that somebody was told of, or the one on its way, whole."""
    served, chance = start(), random.Random(seed)
    moments = 4 if is_short else 100
    shipped = (policies_dir() / "bundle.tar.gz").read_bytes()
    key = Key.of(served.folder.path / "keys" / "policy.key")
    known = {served.client("policy").policy().revision: read(shipped).sha256}

    def numbered(number: int) -> bytes:
        archive = key.sign(variant(shipped, number))
        known[read(archive).revision] = read(archive).sha256
        return archive

    load = Load(served, seed, workers=2)
    load.start()
    number = 0
    with ThreadPoolExecutor(1) as pool:
        for moment in range(moments):
            heard: SimpleQueue[int] = SimpleQueue()
            activating = pool.submit(activate_on, served, numbered, number, heard)
            load.wait_for_answers(1)
            if moment % 2:
                # However slow the machine: some die after one that somebody was told of.
                heard.get(timeout=WAIT_S)
            time.sleep(chance.uniform(0, LATEST_S))
            load.dies()
            served.kill()
            told, tried = activating.result()
            served.start()
            load.born()
            found = served.client("policy").policy()
            assert told <= found.number <= tried
            assert known[found.revision] == found.bundle_sha256
            number = found.number
    load.end()
    assert served.stop() == 0
    check_record(read_record(served.folder.store), served.folder.path / "trust-root.json")
    decided = by_bundle(served)
    assert all(known[revision] == digest for revision, digest in decided)
    print(f"seed {seed}: {moments} moments, bundle {number}, {len(decided)} that decided")


def activate_on(
    served: Served, numbered: Callable[[int], bytes], number: int, heard: "SimpleQueue[int]"
) -> tuple[int, int]:
    """Activate one bundle after the other until the broker is gone; give the last told, tried."""
    client = served.client("policy")
    try:
        while True:
            client.activate(numbered(number + 1))
            number += 1
            heard.put(number)
    # Its channel is closed, where it is not the broker that went first.
    except (ClientError, ValueError):
        return number, number + 1


def by_bundle(served: Served) -> set[tuple[str, str]]:
    """List the bundles that decided, by revision and digest."""
    with closing(served._store()) as store:
        records = [record for (record,) in store.execute("SELECT record FROM calls")]
    evaluations = [entry for record in records for entry in load_call(record).evaluations]
    return {(entry.bundle_revision, entry.bundle_sha256) for entry in evaluations}
