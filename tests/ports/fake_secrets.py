"""Keep secrets in memory, as the real provider keeps them."""

import asyncio
from collections.abc import Sequence

from broker.core.secret import Secret
from broker.errors import SecretUnavailable


class FakeSecrets:
    """A `SecretProvider`.

    Args:
        values: Name with the value that it has now; what is not in it cannot be read.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def read(self, names: Sequence[str]) -> tuple[Secret, ...]:
        """Look them up."""
        await asyncio.sleep(0)
        for name in names:
            if name not in self.values:
                raise SecretUnavailable(name, "it is not there")
        return tuple(Secret(name=name, value=self.values[name]) for name in names)
