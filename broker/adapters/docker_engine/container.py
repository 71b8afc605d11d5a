"""Hold what there is of a started container."""

from dataclasses import dataclass

from broker.adapters.docker_engine.cgroup import Cgroup
from broker.adapters.docker_engine.first_process import FirstProcess
from broker.adapters.docker_engine.wire import Wire
from broker.core.sandbox import Enforced
from broker.ports import Outlet


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A started container as `prepare` hands it over."""

    id: str
    slot: str
    wire: Wire
    cgroup: Cgroup
    enforced: Enforced
    outlet: Outlet | None
    first_process: FirstProcess
