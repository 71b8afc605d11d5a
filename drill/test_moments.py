"""The kill rounds, for long."""

from collections import Counter

import pytest

from tests.e2e.crash.conftest import Start
from tests.e2e.crash.moments import survive


@pytest.mark.timeout(3600)
def test_random_moments(start: Start, is_short: bool, seed: int) -> None:
    """Killed at 200 random moments under load, no call is lost, run twice, or without receipt."""
    moments = 10 if is_short else 200
    load, record = survive(start(), seed=seed + 1, moments=moments, workers=3)
    states = Counter(state.value for state in record.states.values())
    print(f"seed {seed}: {moments} moments, {load.done} calls done, {dict(states)}")
    assert load.done >= moments
