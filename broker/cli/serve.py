"""`toolwarrant serve`: run the broker."""

from broker.cli.options import ConfigOption
from broker.client import config_path


def serve(config: ConfigOption = None) -> None:
    """Run the broker until SIGTERM.

    It prints one `ready` line when calls can be taken.
    """
    # Here, not above: the other commands do not wait for the broker's parts to load.
    from broker.app import serve as run

    run(config_path(config))
