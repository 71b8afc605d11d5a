"""The doctor before an Engine that has gVisor."""

import json
import subprocess
from pathlib import Path

from tests.broker_process import PROGRAM, Folder
from tests.e2e.crash.own_engine import OwnEngine


def diagnosis(config: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run `toolwarrant doctor`; give its exit code, and the last level and word on each subject."""
    argv = [PROGRAM, "doctor", "--config", config, "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {each["subject"]: (each["level"], each["said"]) for each in findings}


class TestDoctor:
    """`toolwarrant doctor`"""

    def test_names_the_runtimes_that_are_there(
        self, development_folder: Folder, gvisor: OwnEngine, images: object, tmp_path: Path
    ) -> None:
        """gVisor is told with its rank, without our filter warned of; only false ones fail."""
        folder = development_folder.copy(tmp_path / "dev")
        folder.set({"sandbox": {"docker_url": gvisor.url}})
        code, found = diagnosis(folder.config)
        failed = {subject for subject, (level, _) in found.items() if level == "fail"}
        assert (code, failed) == (1, {"runtime runsc-belied"})
        assert found["runtime runsc"] == (
            "ok",
            "gVisor, a kernel of its own in user space; rank 2 of 3",
        )
        assert found["runtime runsc-unfiltered"][0] == "warn"
        assert "applies no seccomp profile" in found["runtime runsc-unfiltered"][1]
        assert found["isolation"][0] == "warn"
        assert "python_run" in found["isolation"][1]
