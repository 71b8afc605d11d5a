"""The story of many calls on fakes, with random faults, deaths and delays, by seed."""

import contextlib
import random

from broker.core.halt import Scope
from broker.core.lifecycle import CallState
from broker.errors import BrokerError
from tests.ports.fake_sandbox import SLEEP, Trouble
from tests.ports.memory_store import Fault
from tests.story.fake_policy import ALLOW, DENY, HOLD
from tests.story.stage import AGENT, ALLOWED, DENIED, EVERYTHING, HELD, Stage

STEPS = 60
LABELS = ["confidential", "untrusted", "internal"]

# A kill that never returns is an Engine without deadlines: the adapter has them.
TROUBLES = [trouble for trouble in Trouble if trouble is not Trouble.KILL_HANGS]


async def _step(stage: Stage, chance: random.Random, number: int) -> None:
    """Do one thing that an agent, a person, an operator or fate does."""
    calls = [call for call in stage.disk.calls.values() if not call.state.is_final]
    match chance.randrange(16):
        case 0 | 1 | 2:
            tool = chance.choice([ALLOWED, ALLOWED, HELD, DENIED])
            await stage.call(tool, f"request-{number}")
        case 3:
            await stage.call(ALLOWED, f"request-{number}", code=SLEEP, stdin=str(number))
        case 4 | 5 if held := [call for call in calls if call.state is CallState.HELD]:
            await stage.vote(chance.choice(held).id, approve=chance.random() < 0.8)
        case 6 if calls:
            await stage.life.executor.cancel(await stage.read(chance.choice(calls).id))
        case 7:
            await stage.pass_time(chance.choice([1, 5, 61, 700]))
        case 8:
            stage.disk.faults[stage.disk.writes + chance.randint(1, 4)] = chance.choice(list(Fault))
        case 9:
            stage.host.troubles.append(chance.choice(TROUBLES))
        case 10:
            stage.policy.rules[HELD] = chance.choice([ALLOW, HOLD, HOLD, DENY])
            stage.bundle_changes()
        case 11 if chance.random() < 0.5:
            await stage.restart()
        case 12:
            await stage.halt(chance.choice([EVERYTHING, Scope(tool=HELD), Scope(agent=AGENT.id)]))
        case 13:
            await stage.resume()
        case 14:
            stage.host.keeps_some = not stage.host.keeps_some
        case 15:
            tool, label = chance.choice([ALLOWED, HELD]), chance.choice(LABELS)
            stage.policy.labels[tool] = [label]
            stage.policy.tainted[ALLOWED, label] = chance.choice([ALLOW, HOLD, DENY])


async def simulate(seed: int) -> Stage:
    """Play one seed to the end, where everything must have ended once."""
    chance = random.Random(seed)
    stage = Stage(max_running=chance.randint(1, 3), start_within_s=chance.choice([60, 600]))
    await stage.start()
    for number in range(STEPS):
        with contextlib.suppress(BrokerError):
            await _step(stage, chance, number)
        if chance.random() < 0.5:
            await stage.settle()
    stage.disk.faults.clear()
    stage.host.troubles.clear()
    await stage.resume()
    for _ in range(60):
        await stage.pass_time(120)
    await stage.check_all_ended()
    return stage


async def test_seeds(is_short: bool, seed: int) -> None:
    """Whatever comes in whatever order, each call ends once, with one receipt, run at most once."""
    calls = 0
    for number in range(50 if is_short else 2000):
        try:
            calls += len((await simulate(seed + number)).disk.calls)
        except AssertionError as error:
            error.add_note(f"repeat it with SEED={seed + number}")
            raise
    print(f"seed {seed}: {calls} calls")
