"""Take an agent's wish in: charged to its rate, then checked."""

from broker.core.identity import Identity
from broker.core.order import Order, Wish, read_wish
from broker.core.strict_json import count_values
from broker.world import World


def take_in(world: World, caller: Identity, wish: Wish) -> Order:
    """Charge a wish to its agent, then check every field of it; nothing is stored.

    Raises:
        ResourceExhausted: Over the agent's rate.
        InvalidArgument: Names the field, says what would be right.
    """
    caps, text = world.settings.caps, wish.arguments_json
    # Half a surrogate pair is charged, too, and left to the checks to refuse.
    size_bytes = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    world.admission.admit_request(caller.id, world.clock.monotonic_s(), size_bytes)
    # Charged before they are parsed, well formed or not; what is too long is refused unparsed.
    world.admission.charge_values(caller.id, count_values(text[: caps.max_bytes]))
    return read_wish(wish, world.toolbox, caps)
