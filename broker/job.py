"""Turn a decided call into what its sandbox must be, with what goes into it."""

from broker.core.call import Call
from broker.core.canonical import canonical_json
from broker.core.catalog import Tool
from broker.core.decision import Obligations
from broker.core.destination import read_destination
from broker.core.egress import NO_EGRESS, Egress, EgressProtocol
from broker.core.order import RecordedRequest
from broker.core.sandbox import Collect, Job, Profile
from broker.core.toolbox import BoundTool
from broker.world import World


def profile_of(tool: BoundTool, obligations: Obligations) -> Profile:
    """Give the profile of the container that the call was decided for."""
    limits = obligations.limits
    places = {read_destination(place) for place in obligations.egress}
    return Profile(
        image=tool.image,
        command=tool.tool.command,
        starts_ahead=tool.tool.starts_ahead,
        runtime=obligations.runtime,
        cpu_millicores=limits.cpu_millicores,
        memory_bytes=limits.memory_bytes,
        pids=limits.pids,
        tmp_bytes=limits.tmp_bytes,
        egress=Egress(
            destinations=tuple(sorted(places, key=str)),
            protocol=EgressProtocol(tool.tool.egress_protocol),
        )
        if places
        else NO_EGRESS,
    )


async def job_of(world: World, tool: Tool, call: Call, request: RecordedRequest) -> Job:
    """Collect exactly what the decision was made on, with the secrets that it grants.

    Raises:
        SecretUnavailable: One of them cannot be read.
        StoreUnavailable: Something of it was erased.
    """
    assert call.obligations is not None
    limits = call.obligations.limits
    timeout_s = float(limits.timeout_s)
    if request.timeout_s is not None:
        timeout_s = min(timeout_s, request.timeout_s)
    files: tuple[tuple[str, bytes], ...] = ()
    if tool.workspace != "none":
        tree = await world.sessions.tree(call.tree_sha256)
        files = await world.sessions.files(call.agent, tree)
    return Job(
        arguments=canonical_json(request.arguments),
        workspace=files,
        inputs=await world.sessions.inputs(call.agent, call.inputs),
        timeout_s=timeout_s,
        output_bytes=limits.output_bytes,
        collect=Collect.CHANGES if tool.workspace == "write" else Collect.OUTPUTS,
        # Clamped once more: what is given away cannot be taken back.
        secrets=await world.secrets.read(sorted(set(call.obligations.secrets) & set(tool.secrets))),
    )
