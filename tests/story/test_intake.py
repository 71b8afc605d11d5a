"""What an agent's wish costs it, before anything is stored."""

from dataclasses import replace

import pytest

from broker.core.admission import Admission, Quotas
from broker.core.lifecycle import CallState
from broker.core.order import JsonCaps, Wish
from broker.errors import InvalidArgument, ResourceExhausted
from broker.intake import take_in
from broker.world import World
from tests.story.stage import AGENT, DENIED, HELD, Stage

WISH = Wish(
    tool="no_such_tool",
    arguments_json="{}",
    request_id="",
    session_id="",
    parent_call="",
    purpose="",
    timeout_s=None,
)
BURST = 5
UNIT = 64 * 1024


async def thrifty() -> World:
    """Make a world whose agents have one burst, and take large arguments."""
    world = (await Stage().start()).world
    quotas = Quotas(
        calls_per_second=0.01, burst=BURST, open_calls=1000, held_calls=1000, sessions=1000
    )
    caps = JsonCaps(max_bytes=1 << 20, max_depth=16, max_values=1_000)
    return replace(
        world,
        settings=replace(world.settings, caps=caps),
        admission=Admission(quotas, [WISH.tool]),
    )


def text_of(character: str, size_bytes: int) -> str:
    """Write one object of a text, of that many bytes in UTF-8."""
    text = '{"a":"' + character * (size_bytes // len(character.encode()) - 16) + '"}'
    return text + " " * (size_bytes - len(text.encode()))


def calls_left(world: World) -> int:
    """Spend what the agent has left on the smallest of calls."""
    for spent in range(BURST + 1):
        try:
            take_in(world, AGENT, WISH)
        except ResourceExhausted:
            return spent
    raise AssertionError("nothing bounds the agent")


class TestSize:
    @pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600"])
    @pytest.mark.parametrize(
        ("size_bytes", "left"), [(UNIT - 1, 4), (UNIT, 3), (3 * UNIT - 1, 2), (3 * UNIT, 1)]
    )
    async def test_is_of_bytes(self, character: str, size_bytes: int, left: int) -> None:
        """Each 64 KiB of arguments in UTF-8 costs a call, in whatever alphabet."""
        world = await thrifty()
        take_in(world, AGENT, replace(WISH, arguments_json=text_of(character, size_bytes)))
        assert calls_left(world) == left

    async def test_what_is_no_utf_8_is_charged_and_refused(self) -> None:
        """Half a surrogate pair costs its three bytes, and is the agent's error."""
        world = await thrifty()
        halves = '{"a":"' + "\ud800" * UNIT + '"}'
        with pytest.raises(InvalidArgument):
            take_in(world, AGENT, replace(WISH, arguments_json=halves))
        assert calls_left(world) == 1


class TestDenials:
    async def test_are_counted(self) -> None:
        """Policy sees how often an agent was denied; what is held is no denial."""
        stage = Stage()
        await stage.start()
        assert (await stage.call(DENIED)).state is CallState.DENIED
        await stage.call(HELD)
        world = stage.life.world
        history = world.admission.history(AGENT.id, "", world.clock.now())
        assert (history.calls, history.denied) == ((2, 2, 2), (1, 1, 1))
