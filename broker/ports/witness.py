"""Name how witnesses of the log are reached."""

from typing import Protocol

from broker.core.witness import Answer


class WitnessGateway(Protocol):
    """Ask witnesses. Safe from one event loop, of several at once."""

    async def add_checkpoint(self, witness: str, body: bytes) -> Answer:
        """Post to a witness's `add-checkpoint`; bounded in time and in the answer's size.

        A connection that broke before an answer came is tried once more inside; what was answered,
        whatever it is, is not asked again.

        Args:
            witness: Its name in the configuration.

        Raises:
            WitnessError: No answer came, or it was too long.
        """
