"""The wheel, alone in an empty environment, is the whole product."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an empty environment that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env" / "bin" / "python", "-m", "pip", "install", "--quiet"]
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", str(folder), str(ROOT)], check=True)
    locked = ["--require-hashes", "--requirement", str(ROOT / "requirements.lock")]
    subprocess.run([*pip, *locked], check=True, cwd=folder)
    subprocess.run([*pip, "--no-deps", *folder.glob("*.whl")], check=True, cwd=folder)
    return folder / "env" / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with an environment that knows nothing of this checkout."""
    return subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class TestWheel:
    @pytest.mark.timeout(420)
    def test_inits_serves_calls(self, installed: Path, tmp_path: Path) -> None:
        """`init`, `serve`, `call` work where there is no checkout, no Go, no opa."""
        toolwarrant = installed / "toolwarrant"
        made = run(toolwarrant, "init", "dev", "--listen", "127.0.0.1:0", cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        config = tmp_path / "dev" / "toolwarrant.toml"
        text = config.read_text()
        config.write_text(text.replace('listen = "127.0.0.1:9464"', 'listen = ""'))
        with subprocess.Popen(
            [toolwarrant, "serve", "--config", str(config)],
            cwd=tmp_path,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as broker:
            try:
                assert broker.stdout is not None
                address = broker.stdout.readline().removeprefix("ready: ").strip()
                config.write_text(config.read_text().replace("127.0.0.1:0", address))
                answer = run(
                    *(toolwarrant, "call", "python_run", "code=print(6 * 7)"),
                    *("--config", str(config)),
                    cwd=tmp_path,
                )
            finally:
                broker.terminate()
            assert (answer.stdout, answer.returncode, broker.wait(60)) == ("42\n", 0, 0)
