"""`toolwarrant drain`: let a broker run dry."""

from broker.cli.documents import Plain
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, say


def drain(
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take no new calls from now on; calls under way end."""
    with connect(config, identity or "admin", address) as broker:
        running = broker.drain()
    answer: dict[str, Plain] = {"running": running}
    if output is Output.JSON:
        document(answer)
    else:
        say(f"draining: {running} running; new calls are refused")
