"""Define every setting once: its name, default, range, meaning."""

from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from broker.config_types import (
    Address,
    Cidr,
    EngineUrl,
    FilePath,
    KeyUri,
    Name,
    OptionalAddress,
    OptionalPath,
    OptionalSecretUri,
    RuntimeName,
    SignerUri,
    WitnessUrl,
    is_this_machine,
)
from broker.core.decision import RUNTIMES
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId
from broker.core.sandbox import UIDS
from broker.core.witness import MAX_WITNESSES

# What a Docker Engine takes for a user: 31 bits.
_MAX_UID = 2**31 - 1


class Section(BaseModel):
    """Hold one table of the file; unknown keys are mistakes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False
    )


class ServerSection(Section):
    """Where the broker listens, and how it proves who it is."""

    listen: Address = Field(
        default="127.0.0.1:7443",
        description="Address for agents, approvers and auditors; always mutual TLS. Port 0: any.",
    )
    certificate: FilePath = Field(
        default=Path("pki/server.crt"), description="The broker's certificate, PEM."
    )
    private_key: FilePath = Field(
        default=Path("pki/server.key"),
        description="Its private key, PEM, readable by the broker alone (mode 0600).",
    )
    client_ca: FilePath = Field(
        default=Path("pki/ca.crt"),
        description="Clients must show a certificate that this CA signed, PEM.",
    )
    max_message_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Largest request that is read, in bytes.",
    )
    drain_timeout_s: int = Field(
        default=20,
        ge=0,
        le=3600,
        description="On SIGTERM, how long running calls may take to end, in seconds.",
    )


class StoreSection(Section):
    """Where the record is kept."""

    path: FilePath = Field(
        default=Path("toolwarrant.db"),
        description="SQLite file; one broker at a time owns it. Never on a network file system.",
    )


class ReceiptsSection(Section):
    """How outcomes are signed."""

    key: KeyUri = Field(
        default="file:keys/receipt.key",
        description="Private key of the receipts: file:PATH to a PKCS#8 PEM, mode 0600.",
    )
    log_key: SignerUri = Field(
        default="file:keys/log.key",
        description="Private key of their log, Ed25519: file:PATH to a PKCS#8 PEM, mode 0600; or "
        "pkcs11:token=T;object=K?module-path=/LIBRARY.so&pin-source=file:/PIN on a token.",
    )
    trust_root: FilePath = Field(
        default=Path("trust-root.json"),
        description="What verifiers trust; give it to them by another way than the broker.",
    )
    witness_quorum: int = Field(
        default=0,
        ge=0,
        le=MAX_WITNESSES,
        description=(
            "How many of [witnesses] must have cosigned a head of the log before proofs are given "
            "against it; 0: all of them."
        ),
    )
    development: bool = Field(
        default=True,
        description=(
            "Say in every receipt and in GetServerInfo that keys are the development set. "
            "Set to false with your own certificates and keys."
        ),
    )


class PolicySection(Section):
    """What decides each call."""

    engine: Literal["wasm", "opa"] = Field(
        default="wasm", description='"wasm": inside the broker; "opa": an OPA server.'
    )
    bundle: OptionalPath = Field(
        default=None,
        description=(
            "Compiled, signed policy bundle (.tar.gz) to start with; empty: the shipped one. What "
            "was activated since goes on deciding, unless this one has a higher number."
        ),
    )
    unsigned_bundle: bool = Field(
        default=False,
        description=(
            "Take `bundle` although no policy key signed it: whoever can write that file then "
            "decides every call. What is activated while the broker runs is always signed."
        ),
    )
    opa_url: str = Field(
        default="",
        description=(
            'With engine "opa": an OPA server of yours that has the bundle, https://host:port, '
            "unix:///path, or http:// on this machine; empty: the broker starts its own."
        ),
    )
    opa_ca_file: OptionalPath = Field(
        default=None,
        description=(
            "PEM of the authorities that may sign that server's certificate, and no others then; "
            "empty: the system's. Certificate and host name are always checked."
        ),
    )
    opa_certificate: OptionalPath = Field(
        default=None,
        description="The broker's certificate for that server, PEM, where it demands one.",
    )
    opa_private_key: OptionalPath = Field(
        default=None, description="Its private key, PEM, readable by the broker alone (mode 0600)."
    )
    opa_token: OptionalSecretUri = Field(
        default="",
        description=(
            "Where the bearer token for that server is: file:PATH (read at each use), "
            "credential:NAME or env:VARIABLE; empty: none is sent."
        ),
    )
    opa_binary: OptionalPath = Field(
        default=None,
        description='With engine "opa" and no opa_url: the opa program; empty: from PATH.',
    )
    timeout_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Longest time for one decision, in seconds; after it the call is denied.",
    )

    @model_validator(mode="after")
    def _one_opa(self) -> "PolicySection":
        if self.opa_url and not self.opa_url.startswith(("http://", "https://", "unix:///")):
            raise ValueError('opa_url must be a URL such as "http://127.0.0.1:8181"')
        if self.opa_url and self.opa_binary is not None:
            raise ValueError("opa_binary must be empty where opa_url names a server")
        if self.engine == "wasm" and (self.opa_url or self.opa_binary is not None):
            raise ValueError('opa_url and opa_binary need engine = "opa"; leave them empty')
        return self

    @model_validator(mode="after")
    def _proven(self) -> "PolicySection":
        """See that nobody between broker and server could decide, or read the token."""
        url = _split(self.opa_url)
        if url.scheme == "http" and not is_this_machine(url.hostname):
            raise ValueError(
                "opa_url must be https:// to another machine: who stands between could allow "
                "every call"
            )
        files = (self.opa_ca_file, self.opa_certificate, self.opa_private_key)
        if any(files) and url.scheme != "https":
            raise ValueError(
                "opa_ca_file, opa_certificate and opa_private_key need an opa_url with https://"
            )
        if bool(self.opa_certificate) != bool(self.opa_private_key):
            raise ValueError("opa_certificate and opa_private_key go together: name both")
        if self.opa_token and not self.opa_url:
            raise ValueError("opa_token needs an opa_url")
        return self


def _split(url: str) -> SplitResult:
    """Take apart the URL of an OPA server.

    Raises:
        ValueError: It has parts that would be left out, or lacks its port.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and (
        parts.hostname is None
        or parts.port is None
        or parts.netloc.count("@")
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ValueError(
            'opa_url must have host and port alone, such as "https://opa.example.org:8181"'
        )
    return parts


class SandboxSection(Section):
    """Where tools run."""

    docker_url: EngineUrl = Field(
        default="unix:///var/run/docker.sock", description="The Docker Engine's address."
    )
    images_lock: FilePath = Field(
        default=Path("images.lock.json"),
        description="Ids of the tools' images; `serve` runs no others.",
    )
    tools_dir: OptionalPath = Field(
        default=None, description="Folder of tool definitions; empty: the shipped tools."
    )
    max_running: int = Field(
        default=4, ge=1, le=1024, description="How many containers may run at the same time."
    )
    running_per_agent: int = Field(
        default=0,
        ge=0,
        le=1024,
        description=(
            "How many of them one agent may have, so that long calls of one leave others room; "
            "0: all but one."
        ),
    )
    runtimes: tuple[RuntimeName, ...] = Field(
        default=RUNTIMES,
        description=(
            "Container runtimes from the weakest isolation to the strongest; policy and tools may "
            "demand these. Put others of the Engine's in their places, take none of these out."
        ),
    )

    first_uid: int = Field(
        default=UIDS.start,
        ge=1000,
        le=_MAX_UID,
        description=(
            "The first of the user ids that containers get, each its own. Nobody else on the "
            "Engine's machine may have them, nor another broker there."
        ),
    )
    uid_count: int = Field(
        default=len(UIDS),
        ge=4096,
        le=_MAX_UID,
        description="How many there are; one is used again after all the others.",
    )

    @property
    def uids(self) -> range:
        """The user ids that containers get."""
        return range(self.first_uid, self.first_uid + self.uid_count)

    @model_validator(mode="after")
    def _within_an_engines_reach(self) -> "SandboxSection":
        if self.uids[-1] > _MAX_UID:
            raise ValueError(f"first_uid with uid_count must not go past {_MAX_UID}")
        return self

    @model_validator(mode="after")
    def _one_order(self) -> "SandboxSection":
        if len(set(self.runtimes)) != len(self.runtimes):
            raise ValueError("runtimes must name each runtime once")
        # A changed order of these would turn "higher isolation" around for every rule there is.
        if tuple(name for name in self.runtimes if name in RUNTIMES) != RUNTIMES:
            raise ValueError(f"runtimes must have {', '.join(RUNTIMES)} in this order")
        return self


class PoolSection(Section):
    """Containers that are started before calls ask for them, each used once."""

    containers: int = Field(
        default=8,
        ge=0,
        le=1024,
        description=(
            "How many may wait at the same time, besides those that run; 0: none. Which ones wait "
            "follows the calls of the last minutes."
        ),
    )
    memory_bytes: int = Field(
        default=2 * 1024**3,
        ge=0,
        description="The most that their memory limits may come to together.",
    )


class EgressSection(Section):
    """How a container without a network reaches the places that policy lists for its call."""

    state_dir: FilePath = Field(
        default=Path("egress"),
        description=(
            "Folder of the sockets that go into containers, on the Engine's machine; made with "
            "mode 0700, the broker's own."
        ),
    )
    allow_cidrs: frozenset[Cidr] = Field(
        default=frozenset(),
        description=(
            "Networks that listed names may lead to although they are private, loopback or "
            'otherwise not public, such as ["10.20.0.0/24"].'
        ),
    )
    ca_file: OptionalPath = Field(
        default=None,
        description="PEM of further certificate authorities for tools; empty: the public ones.",
    )
    connections_per_call: int = Field(
        default=16, ge=1, le=1000, description="Connections of one call at the same time."
    )
    bytes_per_call: int = Field(
        default=64 * 1024**2,
        ge=1024,
        le=1024**4,
        description="Bytes that one call may send, and that it may receive.",
    )
    connect_timeout_s: float = Field(
        default=10, gt=0, le=300, description="For lookup with connection, in seconds."
    )
    idle_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="A connection without a byte ends, in seconds."
    )


class LimitsSection(Section):
    """What one agent may ask for; over a limit it is refused before anything is stored."""

    calls_per_second: float = Field(
        default=20, gt=0, le=100_000, description="Calls each agent may make a second, sustained."
    )
    burst: int = Field(
        default=50, ge=1, le=100_000, description="Calls each agent may make at once."
    )
    open_calls_per_agent: int = Field(
        default=64, ge=1, le=100_000, description="Calls of one agent that have not ended."
    )
    held_calls_per_agent: int = Field(
        default=32,
        ge=1,
        le=100_000,
        description="Calls of one agent that wait for people; a further one is denied.",
    )
    sessions_per_agent: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Sessions that one agent uses within a day; a further new one is refused. Each "
        "takes about 500 bytes of memory.",
    )
    arguments_max_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=16 * 1_048_576,
        description="Largest arguments_json, in bytes.",
    )
    arguments_max_depth: int = Field(
        default=64, ge=1, le=512, description="Deepest nesting of arguments_json."
    )
    arguments_max_values: int = Field(
        default=5_000,
        ge=16,
        le=1_000_000,
        description="Most values in arguments_json: members of objects with items of arrays. All "
        "agents wait while one's are read, 1 to 10 ms for each 1,000.",
    )
    start_within_s: int = Field(
        default=600,
        ge=1,
        le=7 * 86_400,
        description="An allowed call that has not begun after this time expires, in seconds.",
    )
    session_files_max: int = Field(
        default=1000, ge=1, le=100_000, description="Files in one session's workspace."
    )
    session_bytes_max: int = Field(
        default=64 * 1_048_576,
        ge=1024,
        le=4 * 1024 * 1_048_576,
        description="Bytes in one session's workspace.",
    )
    agent_file_bytes_max: int = Field(
        default=1024**3,
        ge=1024,
        le=1024**5,
        description="Bytes of files that one agent keeps: uploads, outputs, workspaces of all its "
        "sessions, with what was in them; each content counts once.",
    )
    upload_max_bytes: int = Field(
        default=32 * 1_048_576, ge=0, le=1024**3, description="Largest uploaded file, in bytes."
    )
    uploads_per_agent: int = Field(
        default=4, ge=1, le=1000, description="Uploads of one agent at the same time."
    )
    upload_within_s: int = Field(
        default=300, ge=1, le=86_400, description="How long one upload may take, in seconds."
    )
    upload_idle_s: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="How long an upload may send nothing, in seconds; then it is given up.",
    )
    upload_keep_s: int = Field(
        default=3600,
        ge=60,
        le=30 * 86_400,
        description="How long an upload is kept that no call put into a workspace, in seconds.",
    )

    @model_validator(mode="after")
    def _holds_fit(self) -> "LimitsSection":
        if self.held_calls_per_agent > self.open_calls_per_agent:
            raise ValueError("held_calls_per_agent must not be above open_calls_per_agent")
        return self


class CeilingsSection(Section):
    """What no call gets more of, whatever its tool and policy say."""

    cpu_millicores: int = Field(
        default=2000, ge=10, le=1_000_000, description="Processor time: 1000 is one core."
    )
    memory_bytes: int = Field(
        default=1024**3, ge=16 * 1024**2, le=1024**4, description="Memory without swap, in bytes."
    )
    pids: int = Field(default=256, ge=4, le=100_000, description="Processes with threads.")
    timeout_s: int = Field(
        default=300, ge=1, le=86_400, description="Running time of the tool, in seconds."
    )
    output_bytes: int = Field(
        default=32 * 1024**2,
        ge=1024,
        le=1024**3,
        description="Output that is kept of each stream, and files that come back, in bytes.",
    )
    tmp_bytes: int = Field(
        default=256 * 1024**2,
        ge=1024**2,
        le=64 * 1024**3,
        description="Size of each of the tool's scratch folders, in bytes.",
    )


class MetricsSection(Section):
    """Where Prometheus reads."""

    listen: OptionalAddress = Field(
        default="127.0.0.1:9464",
        description="Plain HTTP, so keep it on a private address. Empty: no metrics.",
    )


class LogSection(Section):
    """What the broker writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error."
    )
    format: Literal["json", "console"] = Field(
        default="json", description="json for programs, console for people."
    )


class WitnessEntry(Section):
    """Whom the log asks for cosignatures."""

    url: WitnessUrl = Field(
        description="Where it answers (C2SP tlog-witness): what stands before /add-checkpoint."
    )
    key: str = Field(
        min_length=1,
        max_length=1024,
        description="Its verifier key, NAME+ID+KEY, or the keyid that it has in the trust root.",
    )
    ca_file: OptionalPath = Field(
        default=None,
        description="PEM of the authorities for its certificate; empty: the system's.",
    )


class IdentityEntry(Section):
    """Who a certificate stands for."""

    person: str = Field(
        default="",
        max_length=256,
        description="The human who acts; needed for approvers. Two certificates, one person.",
    )
    owner: str = Field(
        default="",
        max_length=256,
        description="The human who answers for an agent; may not approve its calls.",
    )
    roles: frozenset[Role] = Field(
        min_length=1, description="agent, approver, auditor, policy or admin."
    )
    groups: frozenset[Name] = Field(
        default=frozenset(), description="Groups that policy and approvals name."
    )
    attributes: dict[Name, str] = Field(
        default_factory=dict, description="Texts for policy, as input.agent.attributes."
    )
    expires_at: AwareDatetime | None = Field(
        default=None, description="From then on the identity is refused: 2027-01-31T00:00:00Z."
    )
    daily_budget: int | None = Field(
        default=None,
        ge=0,
        description="Calls a day, as policy sees it in input.history.budget; absent: no budget.",
    )

    @model_validator(mode="after")
    def _approvers_are_people(self) -> "IdentityEntry":
        # Who may not approve what is a rule about people: without one it could not be kept.
        if Role.APPROVER in self.roles and not self.person:
            raise ValueError("person must say which human this approver is")
        return self

    def identity(self, name: str) -> Identity:
        """Make the core's value; `name` is the URI SAN of the certificate, or its CN."""
        return Identity(
            id=AgentId(name),
            person=self.person,
            owner=self.owner,
            roles=self.roles,
            groups=frozenset(self.groups),
            attributes=tuple(sorted(self.attributes.items())),
            expires_at=self.expires_at,
        )
