"""Define the settings of who may call, how often."""

from pydantic import AwareDatetime, Field, model_validator

from broker.config_sections import Section
from broker.config_types import Name
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId


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
