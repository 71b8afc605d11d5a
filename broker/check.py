"""Say what policy would say of a call, without making it one."""

from broker.core.identity import Identity
from broker.core.order import Wish
from broker.decide import judge_order
from broker.intake import take_in
from broker.judge import Judgement
from broker.world import World


class Checker:
    """Judge wishes that stay wishes: nothing is run, held, recorded or counted as a call."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def check(self, caller: Identity, wish: Wish) -> Judgement:
        """Ask policy about a wish.

        Raises:
            ResourceExhausted: Checks count against the agent's rate as calls do.
            InvalidArgument: The wish is malformed.
        """
        world = self._world
        order = take_in(world, caller, wish)
        now = world.clock.now()
        tree = await world.sessions.current(caller.id, order.session_id)
        history = world.admission.history(caller.id, order.session_id, now)
        return await judge_order(world, caller, order, world.draw_call_id(), tree, history)
