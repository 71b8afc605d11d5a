"""A broker that is killed at every step of publishing its log."""

import random
from itertools import count
from pathlib import Path

import pytest

from tests.broker_process import Folder
from tests.e2e.crash.publishing import FIRST, STEPS
from tests.e2e.crash.stepwise import survive

PASSAGES = (1, 2)


@pytest.mark.timeout(3600)
def test_every_step(development_folder: Folder, tmp_path: Path, is_short: bool, seed: int) -> None:
    """Killed at each step, and in its second passage, the log that readers see only ever grows."""
    chance = random.Random(seed)
    deaths = [(step, passage) for step in STEPS if step not in FIRST for passage in PASSAGES]
    chance.shuffle(deaths)
    # A new log takes these alone: each begins with one.
    firsts = [(step, 1) for step in FIRST]
    if is_short:
        deaths, firsts = deaths[:5], [chance.choice(firsts)]
    passed: set[str] = set()
    for number in count():
        if not deaths:
            break
        now = [*firsts[:1], *deaths]
        died = len(now)
        passed |= set(survive(development_folder, tmp_path / f"dev-{number}", now, seed + number))
        died -= len(now)
        print(f"seed {seed}, store {number}: died {died} times")
        deaths = deaths[died - len(firsts[:1]) :]
        firsts = firsts[1:]
    assert firsts == []
    assert is_short or passed == set(STEPS)
