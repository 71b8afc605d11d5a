"""What strange but well-formed requests do at the edge."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2

from broker.v1 import execution_pb2, tool_pb2
from tests.api.rpc import TIMEOUT_S, Rpc, failure
from tests.broker_process import Served


@pytest.fixture(scope="module")
def agent(served: Served) -> Rpc:
    """The stubs of `agent`."""
    return Rpc.of(served, "agent")


class TestEdge:
    """None of it is a fault of the broker: a fault is an alarm with a traceback in the log."""

    @pytest.mark.parametrize("field", ["timeout", "hold_wait"])
    @pytest.mark.parametrize(
        "duration",
        [
            Duration(seconds=2**62),
            Duration(seconds=-(2**62)),
            Duration(seconds=1, nanos=2**31 - 1),
            Duration(seconds=1, nanos=-(2**31)),
        ],
        ids=str,
    )
    def test_durations(self, agent: Rpc, served: Served, field: str, duration: Duration) -> None:
        """What the wire can carry but no Duration may hold is malformed."""
        before = served.rows()
        found = failure(lambda: agent.execute("python_run", {"code": "1"}, **{field: duration}))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
        assert served.rows() == before

    def test_duration_to_wait(self, agent: Rpc) -> None:
        """Waiting checks its duration before it looks for the call."""
        request = execution_pb2.WaitCallRequest(call="x" * 8, timeout=Duration(seconds=2**62))
        found = failure(lambda: agent.execution.WaitCall(request, timeout=TIMEOUT_S))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("timeout",))

    def test_watch_health(self, agent: Rpc) -> None:
        """The watch of the health service answers."""
        watching = agent.raw_stream("/grpc.health.v1.Health/Watch")
        first = health_pb2.HealthCheckResponse.FromString(next(watching))
        assert first.status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()

    def test_long_name_of_a_tool(self, agent: Rpc) -> None:
        """A megabyte in the place of a name is answered, not echoed."""
        request = tool_pb2.GetToolRequest(tool="\u202e" * 300_000)
        found = failure(lambda: agent.tools.GetTool(request, timeout=TIMEOUT_S))
        assert found.code is grpc.StatusCode.NOT_FOUND
        assert found.reason == "NOT_FOUND"
        assert len(found.raw) < 2_000

    def test_long_path_of_a_fault(self, agent: Rpc) -> None:
        """A fault deep below long keys is named within what a status may carry."""
        key = "\U000e0001" * 64
        text = f'{{"{key}":' * 60 + "NaN" + "}" * 60
        found = failure(lambda: agent.execute("python_run", text))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        assert found.reason == "INVALID_ARGUMENT"

    def test_no_alarm(self, served: Served) -> None:
        """All of the above left no alarm in the log."""
        assert "fault of the broker" not in served.words()
