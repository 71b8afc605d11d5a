"""`toolwarrant init`: make a new broker's folder."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import note, say
from broker.config_template import Settings
from broker.errors import InvalidArgument

ProductionOption = Annotated[
    bool,
    typer.Option(
        "--production",
        help="The server's own keys alone: no identities, nothing of a development set. Needs "
        "--ca, --root-key, --root-threshold and --dns or --ip.",
    ),
]
AuthorityOption = Annotated[
    Path | None, typer.Option(help="Production: your authority's certificates, PEM.")
]
RootKeysOption = Annotated[
    list[Path] | None,
    typer.Option(help="Production: public half of a root key, PEM. Again for another."),
]
ThresholdOption = Annotated[
    int, typer.Option(help="Production: how many root keys sign a trust root.", min=0)
]
DnsOption = Annotated[
    list[str] | None, typer.Option(help="Production: a host name of the broker's.")
]
IpOption = Annotated[
    list[str] | None, typer.Option(help="Production: an IP address of the broker's.")
]
ServerUriOption = Annotated[
    str, typer.Option(help="Production: URI SAN of the broker's certificate (SPIFFE).")
]
LogKeyOption = Annotated[
    str, typer.Option(help="Production: a log key on a token, pkcs11:... (RFC 7512).")
]


def init(
    folder: Annotated[Path, typer.Argument(help="New folder, or one without a set.")],
    listen: Annotated[
        str, typer.Option(help="host:port that the broker will listen on.")
    ] = "127.0.0.1:7443",
    metrics: Annotated[
        str, typer.Option(help='host:port for Prometheus; "" for none.')
    ] = "127.0.0.1:9464",
    images: Annotated[
        bool, typer.Option(help="Build what is missing of the tools' images, pin their ids.")
    ] = True,
    production: ProductionOption = False,
    ca: AuthorityOption = None,
    root_key: RootKeysOption = None,
    root_threshold: ThresholdOption = 0,
    dns: DnsOption = None,
    ip: IpOption = None,
    server_uri: ServerUriOption = "",
    log_key: LogKeyOption = "",
) -> None:
    """Write a development set, or a production one, into a folder.

    A development set has a configuration, a CA with certificates, keys, the pinned ids of images; a
    production one has the server's keys, a request for its certificate, a trust root to be signed.
    Everything or nothing is written; keys that are there are never overwritten.
    """
    # Here, not above: they load the Engine's SDK, which other commands do without.
    from broker.init import initialise
    from broker.production import Elsewhere, Names, initialise_production

    settings: Settings = {"server": {"listen": listen}, "metrics": {"listen": metrics}}
    if production:
        if ca is None or not root_key:
            raise InvalidArgument(
                "--production", "give --ca, --root-key, --root-threshold, and --dns or --ip"
            )
        names = Names(dns=dns or (), ip=ip or (), uri=server_uri)
        elsewhere = Elsewhere(
            authority=ca, root_keys=root_key, root_threshold=root_threshold, log_key=log_key
        )
        path = initialise_production(
            folder, names, elsewhere, report=note, settings=settings, build=images
        )
        say(f"not ready yet, as others have to sign: toolwarrant doctor --config {_quoted(path)}")
        return
    if ca or root_key or root_threshold or dns or ip or server_uri or log_key:
        raise InvalidArgument(
            "--ca, --root-key, --root-threshold, --dns, --ip, --server-uri, --log-key",
            "give --production, too: a development set makes all of this itself",
        )
    path = initialise(folder, now=datetime.now(UTC), report=note, settings=settings, build=images)
    file = _quoted(path)
    if images:
        say(f"ready: toolwarrant serve --config {file}")
    else:
        say(f"no images are pinned yet: toolwarrant tools build --pin --config {file}")
        note(f"then: toolwarrant serve --config {file}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
