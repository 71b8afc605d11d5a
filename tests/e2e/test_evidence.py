"""What `receipts export --out` keeps back."""

import subprocess

from broker.v1 import call_pb2 as broker_call
from tests.broker_process import PROGRAM

MASKING = """
package teams.probe

allow contains {"rule": "probe.rule", "message": "m"} if input.agent.id

deny contains {"rule": "probe.never", "message": "m"} if {
    contains(input.tool.arguments.code, "never")
}

redact contains "/arguments/code" if contains(input.tool.arguments.code, "secret")
"""


def test_what_policy_masks_leaves_in_no_document(serve_steered, tmp_path):
    """A call with redactions, or none that anybody knows of, has its receipt there alone."""
    served = serve_steered(MASKING)
    agent = served.client("agent")
    codes = ("print('secret')", "never a secret", "print('all')", "never")
    calls = [agent.call("python_run", {"code": code}) for code in codes]
    calls.append(agent.call("no_such_tool", {"code": "secret"}))
    states = [broker_call.CallState.Name(call.state) for call in calls]
    assert [state.removeprefix("CALL_STATE_") for state in states] == [
        "SUCCEEDED",
        "DENIED",
        "SUCCEEDED",
        "DENIED",
        "DENIED",
    ]
    words = [item for call in calls for item in ("--call", call.name)]
    where = ("--config", str(served.folder.config), "--address", served.target)
    done = subprocess.run(
        [PROGRAM, "receipts", "export", "--out", str(tmp_path / "out"), *words, *where],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {
        folder: sorted(
            path.name.partition(".")[0][11:] for path in (tmp_path / "out" / folder).iterdir()
        )
        for folder in ("receipts", "documents")
    }
    ulids = [call.name.removeprefix("calls/") for call in calls]
    ran, denied = ulids[2:4]
    assert found == {"receipts": sorted(ulids), "documents": [ran, ran, denied]}
    assert "3 of them without documents, as policy masks something in them" in done.stderr
