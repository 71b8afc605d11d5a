"""Make the sandboxes that the configuration describes, for the tools that there are."""

from ipaddress import ip_network

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.docker_engine.owner import this_process
from broker.adapters.egress_proxy import Bounds, EgressProxy, SystemResolver
from broker.adapters.image_lock import read_image_lock
from broker.adapters.system import SystemClock, SystemEntropy
from broker.adapters.telemetry import Telemetry
from broker.adapters.tool_files import read_catalog
from broker.config import Config
from broker.core.pool import Budget
from broker.core.toolbox import BoundTool, Toolbox
from broker.errors import ConfigurationError
from broker.pool import WarmPool
from broker.ports import SandboxEngine
from broker.secret_ring import check_declared
from broker.shipped import tools_dir


def bound_tools(config: Config) -> Toolbox:
    """Read the catalogue, each tool with the image that is pinned for it.

    Raises:
        ConfigurationError: A tool is not as it must be, has no pinned image, or demands a runtime
            that has no place.
    """
    catalog = read_catalog(config.sandbox.tools_dir or tools_dir())
    check_declared(config, catalog.tools)
    lock = read_image_lock(config.sandbox.images_lock)
    missing = sorted({tool.image for tool in catalog.tools} - set(lock))
    if missing:
        raise ConfigurationError(
            str(config.sandbox.images_lock),
            None,
            f"pins no image for {', '.join(missing)}: run `toolwarrant tools build --pin`",
        )
    for tool in catalog.tools:
        if tool.runtime not in config.sandbox.runtimes:
            raise ConfigurationError(
                str(config.file),
                None,
                f"sandbox.runtimes has no place for {tool.runtime!r}, which {tool.name} demands: "
                "put it between weaker and stronger ones",
            )
    return Toolbox(BoundTool(tool=tool, image=lock[tool.image]) for tool in catalog.tools)


async def check_images(config: Config, toolbox: Toolbox, sandboxes: DockerEngine) -> None:
    """Refuse to start with a pinned image that the Engine does not have.

    Raises:
        ConfigurationError: Names the tools that have such images.
        SandboxError: The Engine does not answer.
    """
    missing = await sandboxes.missing_images({tool.image for tool in toolbox.all()})
    names = sorted(tool.name for tool in toolbox.all() if tool.image in missing)
    if names:
        raise ConfigurationError(
            str(config.sandbox.images_lock),
            None,
            f"pins images that the Docker Engine does not have, for {', '.join(names)}: "
            "run `toolwarrant tools build --pin`",
        )


def pooled(
    config: Config, engine: DockerEngine, clock: SystemClock, telemetry: Telemetry
) -> SandboxEngine:
    """Put a pool before the Engine, where the configuration wants one."""
    pool = config.pool
    if not pool.containers:
        return engine
    budget = Budget(containers=pool.containers, memory_bytes=pool.memory_bytes)
    return WarmPool(engine, budget, clock=clock, entropy=SystemEntropy(), telemetry=telemetry)


def docker_engine(config: Config, installation: str, boot: str) -> DockerEngine:
    """Make the Engine's adapter; nothing is asked of the Engine yet.

    Raises:
        ConfigurationError: The authorities that tools are to trust cannot be read.
    """
    return DockerEngine(
        config.sandbox.docker_url,
        installation=installation,
        boot=boot,
        owner=this_process(),
        # One more for what is made ahead: it takes no call's place.
        workers=config.sandbox.max_running + bool(config.pool.containers),
        seccomp=(tools_dir() / "seccomp.json").read_text(),
        uids=config.sandbox.uids,
        egress=_egress(config, installation),
    )


def _egress(config: Config, installation: str) -> EgressProxy:
    egress = config.egress
    return EgressProxy(
        egress.state_dir,
        installation=installation,
        resolver=SystemResolver(),
        allow=[ip_network(text) for text in sorted(egress.allow_cidrs)],
        bounds=Bounds(
            connections=egress.connections_per_call,
            bytes_each_way=egress.bytes_per_call,
            connect_s=egress.connect_timeout_s,
            idle_s=egress.idle_timeout_s,
        ),
        ca=_tools_ca(config),
    )


def _tools_ca(config: Config) -> bytes:
    """Read the authorities that tools trust besides.

    Raises:
        ConfigurationError: The file cannot be read, or holds none.
    """
    file = config.egress.ca_file
    if file is None:
        return b""
    try:
        pem = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(config.file), None, f"egress.ca_file: {file} cannot be read: {error.strerror}"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ConfigurationError(
            str(config.file), None, f"egress.ca_file: {file} holds no certificate in PEM"
        )
    return pem
