"""Bind each tool's definition to the image that is run for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from broker.core.canonical import JsonObject, canonical_json
from broker.core.catalog import Tool
from broker.core.decision import Obligations
from broker.core.ids import Sha256, sha256_hex
from broker.core.policy_input import PolicyTool


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundTool:
    """A tool with the Engine's id of its pinned image."""

    tool: Tool
    image: str
    sha256: Sha256 = field(init=False)
    """Digest of the definition: what people approve is this command, with this use of files."""

    def __post_init__(self) -> None:
        """Digest the definition, once."""
        object.__setattr__(self, "sha256", sha256_hex(canonical_json(self._definition())))

    def _definition(self) -> JsonObject:
        tool = self.tool
        return {
            "name": tool.name,
            "version": tool.version,
            "input_schema": tool.input_schema,
            "command": list(tool.command),
            "workspace": tool.workspace,
            "limits": tool.limits.by_name(),
            "egress": list(tool.egress),
            "egress_protocol": tool.egress_protocol,
            "secrets": list(tool.secrets),
            "runs_code": tool.runs_code,
            "starts_ahead": tool.starts_ahead,
            "effects": dict(tool.effects),
            "labels": list(tool.labels),
            "runtime": tool.runtime,
        }

    @property
    def name(self) -> str:
        """Give the tool's name."""
        return self.tool.name

    @property
    def obligations(self) -> Obligations:
        """Give what the tool's definition sets; policy can only narrow it."""
        tool = self.tool
        return Obligations(
            runtime=tool.runtime,
            limits=tool.limits,
            egress=tool.egress,
            secrets=tool.secrets,
            redact=(),
        )

    @property
    def for_policy(self) -> PolicyTool:
        """Give what policy is told of the tool."""
        tool = self.tool
        return PolicyTool(
            name=tool.name,
            version=tool.version,
            image_digest=self.image,
            effects=tool.effects,
            labels=tool.labels,
            limits=tool.limits,
            egress=tool.egress,
            secrets=tool.secrets,
            runtime=tool.runtime,
            input_schema=tool.input_schema,
        )


class Toolbox:
    """Find tools by `name` or `name@version`."""

    def __init__(self, tools: Iterable[BoundTool]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}

    def find(self, reference: str) -> BoundTool | None:
        """Look a tool up; a version that is not the catalogue's is not found."""
        name, _, version = reference.partition("@")
        tool = self._tools.get(name)
        return tool if tool and version in ("", tool.tool.version) else None

    def all(self) -> tuple[BoundTool, ...]:
        """List every tool by name."""
        return tuple(self._tools.values())
