"""Read the bounds that the configuration sets to calls."""

from datetime import datetime, timedelta

from broker.config import Config
from broker.core.admission import Admission, Quotas
from broker.core.decision import Limits
from broker.core.ids import AgentId
from broker.core.lifecycle import CallState
from broker.core.order import JsonCaps
from broker.core.toolbox import Toolbox
from broker.ports import Store
from broker.world import FileLimits, Settings


def new_admission(config: Config, toolbox: Toolbox) -> Admission:
    """Make the admitter, which knows no call yet."""
    limits = config.limits
    quotas = Quotas(
        calls_per_second=limits.calls_per_second,
        burst=limits.burst,
        open_calls=limits.open_calls_per_agent,
        held_calls=limits.held_calls_per_agent,
        sessions=limits.sessions_per_agent,
    )
    budgets = {
        AgentId(name): entry.daily_budget
        for name, entry in config.identities.items()
        if entry.daily_budget is not None
    }
    return Admission(quotas, [tool.name for tool in toolbox.all()], budgets)


async def remember(admission: Admission, store: Store, since: datetime) -> None:
    """Rebuild what policy is shown of the past: a restart sheds nothing."""
    for call in await store.recent_calls(since):
        admission.count(call.agent, call.session_id, call.tool, call.received_at)
        if call.state is CallState.DENIED:
            admission.count_denied(call.agent, call.received_at)
        held = call.state is CallState.HELD
        admission.settle(call.agent, call.id, is_open=not call.state.is_final, is_held=held)


def settings(config: Config, boot: str) -> Settings:
    """Read what the story goes by."""
    limits = config.limits
    return Settings(
        boot=boot,
        caps=JsonCaps(
            max_bytes=limits.arguments_max_bytes,
            max_depth=limits.arguments_max_depth,
            max_values=limits.arguments_max_values,
        ),
        start_within=timedelta(seconds=limits.start_within_s),
        max_running=config.sandbox.max_running,
        running_per_agent=config.sandbox.running_per_agent
        or max(config.sandbox.max_running - 1, 1),
        workspace_files=limits.session_files_max,
        workspace_bytes=limits.session_bytes_max,
        files=FileLimits(
            upload_bytes=limits.upload_max_bytes,
            uploads=limits.uploads_per_agent,
            upload_within_s=limits.upload_within_s,
            upload_idle_s=limits.upload_idle_s,
            keep_uploads=timedelta(seconds=limits.upload_keep_s),
            agent_bytes=limits.agent_file_bytes_max,
        ),
    )


def ceilings(config: Config) -> Limits:
    """Read what no policy and no tool may go beyond."""
    return Limits(**config.ceilings.model_dump())
