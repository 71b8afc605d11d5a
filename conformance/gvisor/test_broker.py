"""A broker that demands gVisor of an Engine that has it: from policy to the signed receipt."""

import base64
import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.policy_files import build_bundle
from broker.core.trust_root import read_trust_root
from broker.shipped import policies_dir
from broker.v1 import call_pb2
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.api.rpc import Rpc, state
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.crash.own_engine import OwnEngine

# Two teams that know nothing of one another.
TEAMS = {
    "careful": 'runtime contains "runsc" if startswith(input.session.purpose, "gvisor")\n',
    "careless": """runtime contains "runc"

runtime contains "kata" if input.session.purpose == "gvisor, no: a virtual machine"

runtime contains "runsc-unfiltered" if input.session.purpose == "the operator's own"
""",
}
KERNEL = {"code": "import os; print(os.uname().release)"}
ORDER = '["runc", "runsc-unfiltered", "runsc", "kata"]'


@pytest.fixture(scope="module")
def served(
    development_folder: Folder,
    gvisor: OwnEngine,
    images: dict[str, str],
    opa: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """A broker on the Engine with gVisor, with both teams' rules."""
    place = tmp_path_factory.mktemp("broker")
    folder = development_folder.copy(place / "dev", UNHURRIED)
    folder.set({"sandbox": {"docker_url": gvisor.url}})
    folder.replace('runtimes = ["runc", "runsc", "kata"]', f"runtimes = {ORDER}")
    folder.replace('bundle = ""', f'bundle = "{bundle(place, opa)}"')
    with Served(folder) as running:
        yield running
    assert gvisor.containers() == []


def bundle(place: Path, opa: str) -> Path:
    """Compile the shipped policy with the two teams."""
    ignored = shutil.ignore_patterns("*.tar.gz", "*_test.rego", "schemas")
    shutil.copytree(policies_dir(), place / "policy", ignore=ignored)
    for team, rules in TEAMS.items():
        (place / "policy" / "teams" / team).mkdir()
        text = f"package teams.{team}\n\n{rules}"
        (place / "policy" / "teams" / team / "rules.rego").write_text(text)
    file = place / "policy.tar.gz"
    file.write_bytes(build_bundle(place / "policy", opa))
    return file


def predicate(call: call_pb2.Call) -> dict[str, Any]:
    """Read what the receipt says."""
    payload = base64.b64decode(json.loads(call.receipt)["payload"])
    return dict(json.loads(payload)["predicate"])


class TestDemand:
    """Which runtime a call gets."""

    def test_highest_isolation_of_all_packages(self, served: Served) -> None:
        """One package says runc, another runsc: it runs in gVisor, as its receipt reads back."""
        call = Rpc.of(served).execute("python_run", KERNEL, purpose="gvisor")
        said = predicate(call)
        facts = said["sandbox"]["facts"]
        assert (state(call), facts["runtime"], facts["kernel"]) == ("SUCCEEDED", "runsc", "gvisor")
        assert call.result.stdout_text.strip() != platform.release()
        assert [each["name"] for each in said["obligations"] if not each["enforced"]] == []
        root = read_trust_root((served.folder.path / "trust-root.json").read_bytes())
        assert verify_receipt(call.receipt.encode(), root).validity is Validity.VALID

    def test_without_the_demand_it_is_runc(self, served: Served) -> None:
        """The twin: where no package asks for more, the same call runs on the host's kernel."""
        call = Rpc.of(served).execute("python_run", KERNEL, purpose="any")
        assert predicate(call)["sandbox"]["facts"]["runtime"] == "runc"
        assert call.result.stdout_text.strip() == platform.release()

    def test_operators_own_runtime(self, served: Served) -> None:
        """A runtime that the configuration puts between others can be demanded like them."""
        call = Rpc.of(served).execute(
            "python_run", {"code": "print(1)"}, purpose="the operator's own"
        )
        facts = predicate(call)["sandbox"]["facts"]
        assert (facts["runtime"], "seccomp" in facts["ignored_by_runtime"]) == (
            "runsc-unfiltered",
            True,
        )

    def test_missing_runtime_is_no_downgrade(self, served: Served) -> None:
        """An Engine without the demanded runtime runs nothing, though it has the next one."""
        call = Rpc.of(served).execute(
            "python_run", {"code": "print(1)"}, purpose="gvisor, no: a virtual machine"
        )
        assert (state(call), call.cause, call.HasField("result")) == (
            "SANDBOX_ERROR",
            "runtime_missing",
            False,
        )
        assert predicate(call)["sandbox"] is None
        assert "run.starting" not in served.events(call.name)
        assert '"reason":"SANDBOX_RUNTIME_UNKNOWN"' in served.words().replace(" ", "")


class TestEndings:
    """What receipts say of ends that gVisor makes alike from outside."""

    def test_memory_is_told_from_its_own_kill(self, served: Served) -> None:
        """Both leave with 137: the one is KILLED for memory, the other FAILED by a signal."""
        agent = Rpc.of(served)
        starved = agent.execute("python_run", {"code": "x = b'x' * 400_000_000"}, purpose="gvisor")
        killed = agent.execute("python_run", {"code": "import os; os.kill(1, 9)"}, purpose="gvisor")
        found = [
            (
                state(each),
                each.cause,
                each.result.exit_code,
                predicate(each)["result"]["limits_hit"],
            )
            for each in (starved, killed)
        ]
        assert found == [
            ("KILLED", "memory", 137, ["memory"]),
            ("FAILED", "signalled", 137, []),
        ]

    def test_usage_that_nobody_saw_is_none(self, served: Served) -> None:
        """Where the sandbox died as a whole the receipt says that usage could not be read."""
        call = Rpc.of(served).execute(
            "python_run", {"code": "x = b'x' * 400_000_000"}, purpose="gvisor"
        )
        said = predicate(call)
        sources = said["result"]["sources"]
        assert (said["usage"]["max_memory_bytes"], "usage" in sources) == (None, False)
        assert sources["limits_hit.memory"] == "engine"
