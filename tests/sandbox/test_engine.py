"""What the engine makes, refuses, clears away."""

import asyncio
import io
import secrets
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.core.call import Cause
from broker.core.frames import PROTOCOL
from broker.core.sandbox import UIDS, Profile
from broker.errors import RuntimeMissing, SandboxError
from tests.sandbox.bench import Bench, Place, job, tool_runs

ROGUE_LAUNCHER = f"""
import os, struct, sys
def send(kind, payload): os.write(1, struct.pack(">cI", kind, len(payload)) + payload)
send(b"H", bytes([{PROTOCOL}]))
key = os.read(0, 1 << 16)[22:54]
{{body}}
"""


@pytest.fixture
def built(client: docker.APIClient, images: Mapping[str, str]) -> Iterator[object]:
    """Builds images for one test upon the image of `python_run`."""
    tags: list[str] = []

    def build(lines: str, **files: str) -> str:
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            dockerfile = f"FROM {images['python_run']}\n{lines}\n"
            for name, text in {"Dockerfile": dockerfile, **files}.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        context.seek(0)
        tag = f"toolwarrant-test/{secrets.token_hex(6)}"
        list(client.build(fileobj=context, custom_context=True, tag=tag, rm=True, decode=True))
        tags.append(tag)
        return str(client.inspect_image(tag)["Id"])

    yield build
    for tag in tags:
        # Its parent may have lost its name to another checkout; it is not this test's to remove.
        client.remove_image(tag, force=True, noprune=True)


@pytest.fixture
def hung_engine(tmp_path: Path) -> Iterator[str]:
    """An Engine that takes connections, reads, never answers."""
    path = tmp_path / "engine.sock"
    taken: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def take() -> None:
            try:
                while True:
                    taken.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in taken:
            each.close()


class TestPrepare:
    """Making a sandbox, or refusing to."""

    async def test_reads_back_what_holds(self, bench: Bench, profile: Profile) -> None:
        """The facts for the receipt are the Engine's, digest of the filter included."""
        sandbox = await bench.prepare()
        enforced = sandbox.enforced
        await sandbox.discard()
        facts = dict(enforced.facts)
        assert [
            facts[name] for name in ("network", "read_only_root", "cap_drop", "no_new_privileges")
        ] == ["none", True, ["ALL"], True]
        user, group = str(facts["user"]).split(":")
        assert (user, int(user) in UIDS) == (group, True)
        assert (facts["image"], facts["seccomp_sha256"]) == (
            profile.image,
            enforced.seccomp_sha256,
        )

    async def test_refuses_a_runtime_that_is_not_there(self, bench: Bench) -> None:
        """A runtime unknown to the Engine is named with those there are, nothing is left."""
        with pytest.raises(RuntimeMissing, match=r"no runtime 'kata', but .*runc") as caught:
            await bench.prepare(runtime="kata")
        assert caught.value.reason == "SANDBOX_RUNTIME_UNKNOWN"

    async def test_refuses_an_image_that_is_not_there(self, bench: Bench) -> None:
        """An image that the Engine lost is named with the remedy."""
        with pytest.raises(SandboxError, match="tools build") as caught:
            await bench.prepare(image="sha256:" + "0" * 64)
        assert caught.value.reason == "SANDBOX_IMAGE_MISSING"

    async def test_refuses_an_image_with_a_volume(self, bench: Bench, built: object) -> None:
        """A volume would be one more writable mount: found on reading back, nothing is left."""
        image = built("VOLUME /data")  # type: ignore[operator]
        with pytest.raises(SandboxError, match="Mounts") as caught:
            await bench.prepare(image=image)
        assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"

    async def test_refuses_an_image_without_our_launcher(self, bench: Bench, built: object) -> None:
        """A first process that does not greet as a launcher gets no job."""
        image = built(  # type: ignore[operator]
            "COPY launcher.py /opt/toolwarrant/launcher.py", **{"launcher.py": "print('hello')"}
        )
        with pytest.raises(SandboxError, match="no launcher") as caught:
            await bench.prepare(image=image)
        assert caught.value.reason == "SANDBOX_NO_LAUNCHER"

    async def test_refuses_when_the_engine_is_away(self, profile: Profile, seccomp: str) -> None:
        """An Engine that is not there is named as the reason."""
        engine = DockerEngine(
            "unix:///nowhere/docker.sock", installation="i", boot="b", workers=1, seccomp=seccomp
        )
        with pytest.raises(SandboxError) as caught:
            await engine.prepare(profile, slot=secrets.token_hex(4))
        await engine.close()
        assert caught.value.reason == "SANDBOX_ENGINE_UNAVAILABLE"

    async def test_gives_a_hung_engine_up(
        self, hung_engine: str, profile: Profile, seccomp: str
    ) -> None:
        """An Engine that never answers costs one deadline, not the broker."""
        engine = DockerEngine(
            hung_engine,
            installation="i",
            boot="b",
            workers=1,
            seccomp=seccomp,
            grace_s=1,
            start_s=1,
        )
        for _ in range(2):
            with pytest.raises(SandboxError) as caught:
                await engine.prepare(profile, slot=secrets.token_hex(4))
            assert caught.value.reason == "SANDBOX_ENGINE_UNAVAILABLE"
        await engine.close()

    async def test_cancelled_leaves_nothing(self, bench: Bench) -> None:
        """A preparation cancelled half-way clears its container away."""
        preparing = asyncio.create_task(bench.prepare())
        await asyncio.sleep(0)
        preparing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await preparing


class TestRun:
    """Running, once, to an end that the Engine confirms."""

    async def test_is_for_one_job_only(self, bench: Bench) -> None:
        """A sandbox that was used runs nothing again."""
        sandbox = await bench.prepare()
        await sandbox.run(job("print(1)"))
        with pytest.raises(SandboxError, match="used before"):
            await sandbox.run(job("print(2)"))
        await sandbox.discard()

    async def test_command_that_is_not_there_never_began(self, bench: Bench) -> None:
        """A command missing in the image is a sandbox error that names it."""
        sandbox = await bench.prepare(command=("/no/such/command",))
        with pytest.raises(SandboxError, match="/no/such/command"):
            await sandbox.run(job("x"))
        await sandbox.discard()

    @pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.HALTED])
    async def test_kill_ends_it_with_its_cause(
        self, bench: Bench, client: docker.APIClient, cause: Cause
    ) -> None:
        """A kill from another task ends the run, keeping what was written before."""
        sandbox = await bench.prepare(starts_ahead=False)
        running = asyncio.create_task(sandbox.run(job("import time; time.sleep(600)")))
        await tool_runs(client, sandbox)
        await sandbox.kill(cause)
        report = await running
        await sandbox.discard()
        assert (report.cause, report.exit_code) == (cause, 137)

    async def test_kill_before_the_run_keeps_the_job_away(self, bench: Bench) -> None:
        """A sandbox killed while it waited reports the cause; the tool never ran."""
        sandbox = await bench.prepare()
        await sandbox.kill(Cause.CANCELLED)
        report = await sandbox.run(job("print('ran')"))
        await sandbox.discard()
        assert (report.cause, report.stdout.data) == (Cause.CANCELLED, b"")

    async def test_container_killed_from_outside_is_told_from_memory(
        self, bench: Bench, client: docker.APIClient
    ) -> None:
        """Somebody else's docker kill is a signal with the Engine's word, not an OOM."""
        sandbox = await bench.prepare(starts_ahead=False)
        running = asyncio.create_task(sandbox.run(job("import time; time.sleep(600)")))
        await tool_runs(client, sandbox)
        await asyncio.to_thread(client.kill, sandbox.enforced.container_id)
        report = await running
        await sandbox.discard()
        assert (report.cause, report.exit_code, report.notes) == (
            Cause.SIGNALLED,
            137,
            ("the launcher ended early with code 137",),
        )

    async def test_broker_that_goes_away_ends_the_container(
        self, bench: Bench, client: docker.APIClient
    ) -> None:
        """When the attached stream closes, the launcher ends the tool with itself."""
        sandbox = await bench.prepare(starts_ahead=False)
        running = asyncio.create_task(sandbox.run(job("import time; time.sleep(600)")))
        await tool_runs(client, sandbox)
        running.cancel()
        await asyncio.wait({running})
        sandbox._container.wire.close()  # type: ignore[attr-defined]
        waited = await asyncio.to_thread(client.wait, sandbox.enforced.container_id, timeout=20)
        await sandbox.discard()
        assert waited["StatusCode"] == 125

    @pytest.mark.parametrize(
        ("body", "note"),
        [
            ("os.write(1, b'garbage')", "launcher protocol broken"),
            ("os.write(1, b'O' + b'\\xff' * 4)", "launcher protocol broken"),
            ("send(b'o', bytes(7) + b'\\x01../x')", "launcher protocol broken"),
            ("send(b'c', bytes(8) + b'x')", "launcher protocol broken"),
            ("send(b'D', b'x')", "launcher protocol broken"),
            ("send(b'B', b''); os._exit(3)", "the launcher ended early with code 3"),
            ("send(b'Z', bytes([1, 3]) + key); os._exit(4)", "the launcher left with code 4"),
            ("send(b'Z', bytes(34))", "launcher protocol broken"),
            ("send(b'Z', bytes(2))", "launcher protocol broken"),
        ],
        ids=[
            *("garbage", "oversized", "escaping", "unasked", "stray-data", "early", "lying"),
            *("another key", "no key"),
        ],
    )
    async def test_launcher_is_never_trusted(
        self, bench: Bench, built: object, body: str, note: str
    ) -> None:
        """Whatever a rogue launcher sends, cause with exit code come from the Engine."""
        text = ROGUE_LAUNCHER.format(body=body + "\nos.read(0, 1)\nimport time; time.sleep(60)")
        image = built(  # type: ignore[operator]
            "COPY launcher.py /opt/toolwarrant/launcher.py", **{"launcher.py": text}
        )
        sandbox = await bench.prepare(image=image)
        report = await sandbox.run(job("print(1)"))
        await sandbox.discard()
        assert (report.cause, report.outputs, report.changes) == (Cause.SIGNALLED, (), ())
        assert note in report.notes[0]

    async def test_launcher_that_never_leaves_is_killed(
        self, place: Place, profile: Profile, built: object, seccomp: str
    ) -> None:
        """A first process that announces a death but lives on is ended before the report."""
        text = ROGUE_LAUNCHER.format(
            body="send(b'Z', bytes([1, 9]) + key)\nimport time; time.sleep(600)"
        )
        image = built(  # type: ignore[operator]
            "COPY launcher.py /opt/toolwarrant/launcher.py", **{"launcher.py": text}
        )
        engine = place.engine(seccomp=seccomp, grace_s=2)
        sandbox = await engine.prepare(replace(profile, image=image), slot=secrets.token_hex(4))
        report = await sandbox.run(job("print(1)"))
        await sandbox.discard()
        await engine.close()
        assert (report.cause, report.exit_code) == (Cause.SIGNALLED, 137)


class TestClearing:
    """Discard, sweep, close."""

    async def test_discard_is_idempotent(self, bench: Bench) -> None:
        """A second discard does nothing."""
        sandbox = await bench.prepare()
        await sandbox.discard()
        await sandbox.discard()

    async def test_sweep_takes_earlier_boots_of_the_same_installation_only(
        self, place: Place, profile: Profile, seccomp: str, client: docker.APIClient
    ) -> None:
        """An earlier boot's containers go; another installation's, or a live one's, stay."""
        mine, other = f"test-{secrets.token_hex(6)}", f"test-{secrets.token_hex(6)}"
        engines = {
            name: place.engine(installation=installation, boot=boot, seccomp=seccomp)
            for name, installation, boot in (
                ("old", mine, "boot-1"),
                ("new", mine, "boot-2"),
                ("foreign", other, "boot-1"),
            )
        }
        boxes = {name: await engine.prepare(profile, slot=name) for name, engine in engines.items()}
        swept = await engines["new"].sweep()
        left = {
            name
            for name, box in boxes.items()
            if client.containers(all=True, filters={"id": box.enforced.container_id})
        }
        for engine in engines.values():
            await engine.close()
        assert (swept, left) == (1, {"new", "foreign"})

    async def test_sweep_takes_containers_of_this_boot_that_nobody_has(
        self, place: Place, profile: Profile, seccomp: str, client: docker.APIClient
    ) -> None:
        """A container that came late, when its call had been given up, goes with the next sweep."""
        installation = f"test-{secrets.token_hex(6)}"
        engine = place.engine(installation=installation, seccomp=seccomp)
        held = await engine.prepare(profile, slot="held")
        labels = {"installation": installation, "boot": "b", "slot": "late"}
        late = client.create_container(
            profile.image,
            command="true",
            labels={f"org.toolwarrant.{key}": text for key, text in labels.items()},
        )["Id"]
        await engine.sweep()
        wanted = {"label": f"org.toolwarrant.installation={installation}"}
        left = [each["Id"] for each in client.containers(all=True, filters=wanted)]
        await engine.close()
        assert (late in left, left) == (False, [held.enforced.container_id])

    async def test_close_discards_what_is_left_of_this_boot(
        self, place: Place, profile: Profile, seccomp: str, client: docker.APIClient
    ) -> None:
        """Closing leaves no container of this boot."""
        installation = f"test-{secrets.token_hex(6)}"
        engine = place.engine(installation=installation, seccomp=seccomp)
        await engine.prepare(profile, slot="one")
        await engine.close()
        label = f"org.toolwarrant.installation={installation}"
        assert client.containers(all=True, filters={"label": label}) == []

    async def test_check_describes_the_engine(self, engine: DockerEngine) -> None:
        """The Engine's version, runtimes, cgroup version are there for `doctor`."""
        seen = await engine.check()
        assert "runc" in seen["runtimes"].split(",")
        assert seen["version"]
