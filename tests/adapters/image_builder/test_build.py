"""Claims about building images with a real Docker Engine."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker import APIClient

from broker.adapters.image_builder import build_images
from broker.errors import ConfigurationError, ImageBuildFailed
from broker.shipped import tools_dir
from tests.adapters.image_builder.engine_here import ENGINE, run


@pytest.fixture
def engine() -> Iterator[APIClient]:
    client = APIClient(base_url=ENGINE, version="auto")
    yield client
    client.close()


@pytest.fixture
def image_name(engine: APIClient) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    yield name
    for image in engine.images(f"toolwarrant/{name}"):
        engine.remove_image(image["Id"], force=True)


@pytest.fixture
def tools(tmp_path: Path, image_name: str) -> Path:
    """One tool beside the shipped base."""
    (tmp_path / "base").symlink_to(tools_dir() / "base")
    tool = tmp_path / "echo"
    tool.mkdir()
    (tool / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY run.py /opt/tool/run.py\n")
    (tool / "run.py").write_text("#!/usr/bin/env python3\nprint('one')\n")
    (tool / "tool.yaml").write_text(f'image: {image_name}\nversion: "1.0.0"\n')
    return tmp_path


class TestBuild:
    def test_image_holds_the_tool_above_the_launcher(
        self, engine: APIClient, tools: Path, image_name: str
    ) -> None:
        """A built image runs the tool's file and has the base's launcher."""
        image = build_images(ENGINE, tools, [].append)[image_name]
        printed = run(
            engine, image, "sh", "-c", "/opt/tool/run.py && ls /opt/toolwarrant/launcher.py"
        )
        assert printed == "one\n/opt/toolwarrant/launcher.py\n"

    def test_second_build_changes_nothing(self, tools: Path, image_name: str) -> None:
        """Unchanged sources are not built again, and the ids stay."""
        first = build_images(ENGINE, tools, [].append)
        said: list[str] = []
        assert (build_images(ENGINE, tools, said.append), said) == (
            first,
            [
                "base: toolwarrant/base:current is up to date",
                f"{image_name}: toolwarrant/{image_name}:1.0.0 is up to date",
            ],
        )

    def test_changed_source_is_built(self, engine: APIClient, tools: Path, image_name: str) -> None:
        """A changed file ends up in the image under the same tag."""
        before = build_images(ENGINE, tools, [].append)[image_name]
        (tools / "echo" / "run.py").write_text("#!/usr/bin/env python3\nprint('two')\n")
        after = build_images(ENGINE, tools, [].append)[image_name]
        assert (
            run(engine, before, "/opt/tool/run.py"),
            run(engine, after, "/opt/tool/run.py"),
        ) == (
            "one\n",
            "two\n",
        )

    def test_base_keeps_no_file_that_gives_rights(
        self, engine: APIClient, tools: Path, image_name: str
    ) -> None:
        """No setuid or setgid file is left in an image."""
        image = build_images(ENGINE, tools, [].append)[image_name]
        found = run(engine, image, "find", "/", "-xdev", "-type", "f", "-perm", "/6000")
        assert found == ""


class TestFaults:
    def test_a_failing_step_shows_its_last_words(self, tools: Path) -> None:
        """The message carries what the failing step printed."""
        dockerfile = tools / "echo" / "Dockerfile"
        dockerfile.write_text("ARG BASE\nFROM ${BASE}\nRUN echo the-$((1+1))nd-cause && false\n")
        with pytest.raises(ImageBuildFailed, match="the-2nd-cause"):
            build_images(ENGINE, tools, [].append)

    def test_no_engine_is_said(self, tools: Path, tmp_path: Path) -> None:
        """Without an Engine the message asks for one."""
        with pytest.raises(ImageBuildFailed, match="is the Docker Engine running"):
            build_images(f"unix://{tmp_path}/none.sock", tools, [].append)

    def test_two_tools_cannot_share_an_image_name(self, tools: Path, image_name: str) -> None:
        """Two folders that build the same image are refused with the file's name."""
        other = tools / "other"
        other.mkdir()
        for file in (tools / "echo").iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        with pytest.raises(ConfigurationError, match=r"other/tool\.yaml: .*is taken"):
            build_images(ENGINE, tools, [].append)

    def test_definition_without_version_is_refused(self, tools: Path) -> None:
        """A tool.yaml that names no version cannot be built."""
        (tools / "echo" / "tool.yaml").write_text("image: x\n")
        with pytest.raises(ConfigurationError, match="needs `image` and `version`"):
            build_images(ENGINE, tools, [].append)
