"""Serve the description of tools."""

import json

from google.protobuf import duration_pb2

from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.wire import effect_message, page_size
from broker.check import Checker
from broker.core.order import Wish
from broker.core.toolbox import BoundTool, Toolbox
from broker.errors import NotFound
from broker.v1 import call_pb2, tool_pb2, tool_pb2_grpc


class ToolService(tool_pb2_grpc.ToolServiceServicer):
    """Describe tools; say what policy would say."""

    def __init__(self, toolbox: Toolbox, checker: Checker) -> None:
        self._toolbox = toolbox
        self._checker = checker

    async def ListTools(  # noqa: N802
        self, request: tool_pb2.ListToolsRequest, context: Context
    ) -> tool_pb2.ListToolsResponse:
        """List tools by name."""
        size = page_size(request.page_size)
        words = request.filter.lower().split()
        tools = [
            tool
            for tool in self._toolbox.all()
            if tool.name > request.page_token and all(word in _words(tool) for word in words)
        ]
        page = tools[:size]
        return tool_pb2.ListToolsResponse(
            tools=[_message(tool) for tool in page],
            next_page_token=page[-1].name if len(tools) > size else "",
        )

    async def GetTool(  # noqa: N802
        self, request: tool_pb2.GetToolRequest, context: Context
    ) -> tool_pb2.GetToolResponse:
        """Describe one tool."""
        tool = self._toolbox.find(request.tool)
        if tool is None:
            raise NotFound(f"tool: there is no {request.tool!r}; ListTools names those that are")
        return tool_pb2.GetToolResponse(tool=_message(tool))

    async def CheckCall(  # noqa: N802
        self, request: tool_pb2.CheckCallRequest, context: Context
    ) -> tool_pb2.CheckCallResponse:
        """Say what policy would say of a call now."""
        wish = Wish(
            tool=request.tool,
            arguments_json=request.arguments_json,
            request_id="",
            session_id=request.session_id,
            parent_call="",
            purpose=request.purpose,
            timeout_s=None,
        )
        judgement = await self._checker.check(caller(), wish)
        decision, approval = judgement.decision, judgement.decision.approval
        return tool_pb2.CheckCallResponse(
            decision=effect_message(
                decision.effect.value, judgement.evaluation.bundle_revision, decision.output
            ),
            requirements=[
                call_pb2.Requirement(group=requirement.group, count=requirement.count)
                for requirement in (approval.requirements if approval else ())
            ],
        )


def _words(tool: BoundTool) -> str:
    return f"{tool.name} {tool.tool.title} {tool.tool.description}".lower()


def _message(tool: BoundTool) -> tool_pb2.Tool:
    definition = tool.tool
    output_schema = definition.output_schema
    return tool_pb2.Tool(
        name=definition.name,
        version=definition.version,
        title=definition.title,
        description=definition.description,
        input_schema_json=json.dumps(definition.input_schema),
        output_schema_json=json.dumps(output_schema) if output_schema else "",
        effects=tool_pb2.Effects(**tool.tool.effects),
        image_digest=tool.image,
        max_timeout=duration_pb2.Duration(seconds=definition.limits.timeout_s),
    )
