"""How messages become plain JSON."""

import json

from google.protobuf.timestamp_pb2 import Timestamp

from broker.cli.documents import enum_name, plain
from broker.v1 import admin_pb2, call_pb2, execution_pb2, tool_pb2


class TestPlain:
    """`plain`."""

    def test_a_call_is_as_the_contract_names_it(self) -> None:
        """States without prefix, times as RFC 3339, numbers as numbers, bytes as base64."""
        call = call_pb2.Call(
            name="calls/A",
            state=call_pb2.CALL_STATE_TIMED_OUT,
            decision=call_pb2.Decision(
                effect=call_pb2.EFFECT_ALLOW, reasons=[call_pb2.Reason(rule="r")]
            ),
            result=call_pb2.Result(stdout=b"\xff", stdout_size_bytes=2**53 - 1, exit_code=0),
            usage=call_pb2.Usage(wall_ms=5),
            received_at=Timestamp(seconds=1_800_000_000, nanos=5_000_000),
        )
        value = plain(call)
        assert value["state"] == "TIMED_OUT"
        assert value["received_at"] == "2027-01-15T08:00:00.005Z"
        assert value["hold"] is None
        assert value["ended_at"] is None
        assert value["agent"] == ""
        assert value["usage"] == {
            "wall_ms": 5,
            "cpu_ms": None,
            "max_memory_bytes": None,
            "max_pids": None,
            "files_bytes": 0,
        }
        assert value["decision"] == {
            "effect": "ALLOW",
            "reasons": [{"rule": "r", "agent_message": "", "severity": ""}],
            "policy_revision": "",
            "warnings": [],
        }
        result = value["result"]
        assert isinstance(result, dict)
        assert result["stdout"] == "/w=="
        assert result["stdout_size_bytes"] == 2**53 - 1
        assert result["exit_code"] == 0
        assert result["outputs"] == []
        assert json.loads(json.dumps(value)) == value

    def test_durations_are_seconds(self) -> None:
        """A duration is a number of seconds."""
        tool = tool_pb2.Tool(name="t")
        tool.max_timeout.FromMilliseconds(1500)
        assert plain(tool)["max_timeout"] == 1.5

    def test_maps_are_objects(self) -> None:
        """A map keeps its keys."""
        info = admin_pb2.GetServerInfoResponse(engine={"version": "20.10"})
        assert plain(info)["engine"] == {"version": "20.10"}

    def test_every_state_has_its_name_without_prefix(self) -> None:
        """No state is written with its prefix."""
        enum = call_pb2.CallState.DESCRIPTOR
        names = {enum_name(enum, value.number) for value in enum.values}
        assert names == {value.name.removeprefix("CALL_STATE_") for value in enum.values}

    def test_a_state_of_a_newer_broker_is_its_number(self) -> None:
        """An unknown value is not taken for another one."""
        assert enum_name(call_pb2.CallState.DESCRIPTOR, 99) == "99"

    def test_an_empty_message_has_every_field(self) -> None:
        """Programs find the same keys in every document."""
        fields = set(execution_pb2.WatchCallResponse.DESCRIPTOR.fields_by_name)
        assert set(plain(execution_pb2.WatchCallResponse())) == fields
