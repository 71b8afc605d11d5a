"""What `receipts export --out` keeps back."""

import subprocess

from tests.broker_process import PROGRAM

MASKING = """
package teams.probe

allow contains {"rule": "probe.rule", "message": "m"} if input.agent.id

redact contains "/arguments/code" if contains(input.tool.arguments.code, "secret")
"""


def test_what_policy_masks_leaves_in_no_document(serve_steered, tmp_path):
    """A call with redactions has its receipt there, and none of its documents."""
    served = serve_steered(MASKING)
    agent = served.client("agent")
    masked, plain = (
        agent.call("python_run", {"code": code}) for code in ("print('secret')", "print('all')")
    )
    words = [item for call in (masked, plain) for item in ("--call", call.name)]
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
    ulids = [call.name.removeprefix("calls/") for call in (masked, plain)]
    assert found == {"receipts": sorted(ulids), "documents": [ulids[1], ulids[1]]}
    assert "1 of them without documents, as policy masks something in them" in done.stderr
