"""`toolwarrant serve`: run the broker."""

import gc

from broker.cli.options import ConfigOption
from broker.client import config_path


def serve(config: ConfigOption = None) -> None:
    """Run the broker until SIGTERM.

    It prints one `ready` line when calls can be taken.
    """
    # Looking through what is loaded, again and again while it loads, takes a fifth of the start.
    # None of it is ever garbage, so no later collection looks at it either.
    gc.disable()
    # Here, not above: the other commands do not wait for the broker's parts to load.
    from broker.app import serve as run

    gc.freeze()
    gc.enable()
    run(config_path(config))
