"""Take a secret out of the broker's own environment."""

import os
from collections.abc import Iterable, Mapping, MutableMapping

from broker.adapters.secret_sources.source import Nowhere, Source


class TakenVariable:
    """The value that a variable had at the start; it shows in no `repr`."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def read(self) -> bytes:
        """Give it."""
        return self._value


def take_variables(
    variables: Iterable[str], environment: MutableMapping[str, str]
) -> Mapping[str, Source]:
    """Read variables, then remove them, so that no child of the broker inherits them."""
    wanted = frozenset(variables)
    taken: dict[str, Source] = {}
    for variable in wanted:
        value = environment.pop(variable, None)
        if value is None:
            said = f"the variable {variable} is not set in the broker's environment"
            taken[variable] = Nowhere(said)
        else:
            taken[variable] = TakenVariable(os.fsencode(value))
    return taken
