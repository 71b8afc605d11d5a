"""Check an agent's wish to call a tool, before anything is stored."""

import re
from dataclasses import dataclass
from typing import Self, cast

from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.ids import AgentId, CallId, Sha256, is_call_id
from broker.core.strict_json import parse_object
from broker.core.toolbox import BoundTool, Toolbox
from broker.errors import InvalidArgument

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,127}")
_TOOL = re.compile(r"[a-z0-9_]{1,64}(@[A-Za-z0-9.+-]{1,32})?")
_PURPOSE_CHARACTERS = 2_000
DEFAULT_SESSION = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an agent asked for, as it came."""

    tool: str
    arguments_json: str
    request_id: str
    session_id: str
    parent_call: str
    purpose: str
    timeout_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonCaps:
    """How large and how deep arguments may be, and how many values they may hold."""

    max_bytes: int
    max_depth: int
    max_values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A wish that is well formed: what is recorded, what is run.

    `tool` is None where the catalogue has no such tool, which is a denial, not an error.
    """

    wish: Wish
    tool: BoundTool | None
    tool_name: str
    session_id: str
    parent: CallId | None
    arguments: JsonObject
    arguments_sha256: Sha256

    def request_body(self, agent: AgentId) -> JsonObject:
        """Give the body of the REQUEST document: all that makes two requests the same."""
        return {
            "agent": agent,
            "tool": self.wish.tool,
            "arguments": self.arguments,
            "arguments_sha256": self.arguments_sha256,
            "request_id": self.wish.request_id,
            "session_id": self.session_id,
            "parent_call": self.wish.parent_call,
            "purpose": self.wish.purpose,
            "timeout_ms": None if self.wish.timeout_s is None else int(self.wish.timeout_s * 1000),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """What a recorded call goes on with, read back from its REQUEST document."""

    purpose: str
    arguments: JsonObject
    arguments_sha256: Sha256
    timeout_s: float | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a document whose body `Order.request_body` made."""
        body = document.body
        timeout_ms = cast("int | None", body["timeout_ms"])
        return cls(
            purpose=cast("str", body["purpose"]),
            arguments=cast("JsonObject", body["arguments"]),
            arguments_sha256=Sha256(cast("str", body["arguments_sha256"])),
            timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        )


def read_wish(wish: Wish, toolbox: Toolbox, caps: JsonCaps) -> Order:
    """Check every field of a wish.

    Raises:
        InvalidArgument: Names the field, says what would be right.
    """
    if not _TOOL.fullmatch(wish.tool):
        raise InvalidArgument("tool", "send `name` or `name@version`; ListTools names the tools")
    _check_id("request_id", wish.request_id)
    _check_id("session_id", wish.session_id)
    _check_purpose(wish.purpose)
    if wish.timeout_s is not None and not 0 < wish.timeout_s < 86_400 * 366:
        raise InvalidArgument("timeout", "send a positive duration, or none for the tool's own")
    arguments = parse_object(
        wish.arguments_json,
        field="arguments_json",
        max_bytes=caps.max_bytes,
        max_depth=caps.max_depth,
        max_values=caps.max_values,
    )
    tool = toolbox.find(wish.tool)
    if tool is not None:
        tool.tool.check_arguments(arguments.value)
    return Order(
        wish=wish,
        tool=tool,
        tool_name=wish.tool.partition("@")[0],
        session_id=wish.session_id or DEFAULT_SESSION,
        parent=_parent(wish.parent_call),
        arguments=arguments.value,
        arguments_sha256=arguments.sha256,
    )


def _check_id(field: str, text: str) -> None:
    if text and not _ID.fullmatch(text):
        raise InvalidArgument(
            field, "send at most 128 characters of A-Z a-z 0-9 . _ : @ / + = -, or nothing"
        )


def _check_purpose(purpose: str) -> None:
    if len(purpose) > _PURPOSE_CHARACTERS:
        raise InvalidArgument("purpose", f"send at most {_PURPOSE_CHARACTERS} characters")


def _parent(name: str) -> CallId | None:
    if not name:
        return None
    call = name.removeprefix("calls/")
    if not is_call_id(call):
        raise InvalidArgument("parent_call", "send `calls/<ULID>` of a call of your own")
    return CallId(call)
