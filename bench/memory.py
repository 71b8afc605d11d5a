"""Watch a broker's resident memory over ten thousand denied calls."""

from bench.denied import deny
from bench.figure import Figure
from tests.broker_process import Served

_FIRST = 1_000
_MORE = 10_000
_MIB = 2**20


def measure(served: Served) -> list[Figure]:
    """Measure a broker that was just started."""
    deny(served, _FIRST)
    before = served.resident_bytes()
    deny(served, _MORE)
    after = served.resident_bytes()
    return [
        Figure(
            name="broker's resident memory after 11,000 / 1,000 denied calls",
            unit="MiB",
            ours=after / _MIB,
            theirs=before / _MIB,
            bound=1.1,
            conditions=f"{(after - before) / _MORE:.0f} B a call; {_FIRST:,} to warm up",
        )
    ]
