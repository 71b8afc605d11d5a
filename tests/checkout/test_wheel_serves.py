"""The wheel, alone in an empty environment, is the whole product; with less, the verifier."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an empty environment that the wheel was installed into."""
    return environment(tmp_path_factory.mktemp("whole"), wheel, ROOT / "requirements.lock")


@pytest.fixture(scope="module")
def verifier(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same where only the verifier's dependencies are."""
    return environment(tmp_path_factory.mktemp("less"), wheel, ROOT / "requirements-verify.lock")


def environment(folder: Path, wheel: Path, lock: Path) -> Path:
    """Make an environment of what a lock names, with the wheel."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "--requirement", lock], check=True, cwd=folder)
    subprocess.run([*pip, "--no-deps", wheel], check=True, cwd=folder)
    return python.parent


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


JUDGE = """
import importlib.util, json, sys
from pathlib import Path
from broker.core.trust_root import read_trust_root
from broker.verify.receipt import verify_receipt
found = {}
for file in sys.argv[1:]:
    for record in json.loads(Path(file).read_text()):
        texts = {
            name: record[name].encode()
            for name in ("request", "result", "proof")
            if record.get(name) is not None
        }
        verdict = verify_receipt(
            record["envelope"].encode(),
            read_trust_root(json.dumps(record["trust_root"]).encode()),
            quorum=record.get("witness_quorum", 0),
            **texts,
        )
        found[record["name"]] = [verdict.validity.name.lower(), verdict.step]
foreign = "grpc docker google typer rich pydantic wasmtime aiohttp uvloop yaml postgast".split()
print(json.dumps([found, [name for name in foreign if importlib.util.find_spec(name)]]))
"""
VECTORS = [ROOT / "tests" / "vectors" / name for name in ("receipts.json", "log_proofs.json")]


class TestVerifierAlone:
    def test_every_vector(self, verifier: Path, tmp_path: Path) -> None:
        """Every vector comes to its verdict where there is no gRPC, no Docker, no policy engine."""
        done = run(verifier / "python", "-c", JUDGE, *map(str, VECTORS), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        records = [record for file in VECTORS for record in json.loads(file.read_text())]
        expected = {each["name"]: [each["verdict"], each["step"]] for each in records}
        assert json.loads(done.stdout) == [expected, []]

    def test_the_program(self, verifier: Path, tmp_path: Path) -> None:
        """`toolwarrant-verify` says what `receipts verify` says, with its exit codes."""
        records = json.loads(VECTORS[1].read_text())
        good = next(each for each in records if each["name"] == "log/accept/in the log")
        for name, text in {
            "receipt.json": good["envelope"],
            "changed.json": good["envelope"].replace("A", "B", 1),
            "trust-root.json": json.dumps(good["trust_root"]),
            "proof": good["proof"],
        }.items():
            (tmp_path / name).write_text(text)
        program = verifier / "toolwarrant-verify"
        trust, proof = ("--trust-root", "trust-root.json"), ("--proof", "proof")
        valid = run(program, "receipt.json", *trust, *proof, "-o", "json", cwd=tmp_path)
        assert (valid.returncode, json.loads(valid.stdout)["in_log"]) == (0, True), valid.stderr
        invalid = run(program, "changed.json", *trust, *proof, cwd=tmp_path)
        assert (invalid.returncode, invalid.stdout.split(":")[0]) == (
            1,
            "INVALID at step signature",
        )
        quorum = run(program, "receipt.json", *trust, *proof, "--witness-quorum", "1", cwd=tmp_path)
        assert (quorum.returncode, quorum.stdout.split(":")[0]) == (1, "INVALID at step witnesses")
        wrong = run(program, "receipt.json", cwd=tmp_path)
        assert (wrong.returncode, "--trust-root" in wrong.stderr) == (2, True)
