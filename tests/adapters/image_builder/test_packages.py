"""Claims about the Debian packages that tools' images need."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from docker import APIClient

from broker.adapters.image_builder import build_images
from broker.adapters.image_builder.debs import Debs
from broker.adapters.image_builder.engine import ImageEngine
from broker.adapters.image_builder.packages import packages_label, read_packages
from broker.adapters.image_builder.rootfs import rootfs_label
from broker.adapters.image_builder.sources import ImageSources
from broker.errors import ConfigurationError, ImageBuildFailed
from broker.shipped import tools_dir
from tests.adapters.image_builder.engine_here import ENGINE, run

ROOTFS = f"toolwarrant/rootfs:bookworm-{rootfs_label()[:12]}"


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    """The shipped tools' images."""
    return build_images(ENGINE, tools_dir(), [].append)


@pytest.fixture
def engine() -> Iterator[ImageEngine]:
    with closing(ImageEngine(ENGINE)) as engine:
        yield engine


@pytest.fixture
def client() -> Iterator[APIClient]:
    client = APIClient(base_url=ENGINE, version="auto")
    yield client
    client.close()


def deb(folder: Path, name: str, depends: str = "") -> bytes:
    """Give the index entry of a package that is built into a folder."""
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\n"
    control += f"Depends: {depends}\n" if depends else ""
    tree = folder / f"tree-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(f"{control}Description: for a test\n")
    file = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tree, file], check=True, capture_output=True)
    data = file.read_bytes()
    entry = f"{control}Filename: ./{file.name}\nSize: {len(data)}\n"
    return f"{entry}SHA256: {hashlib.sha256(data).hexdigest()}\n\n".encode()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror that nobody signed, in a folder, with three small packages."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    entries = [
        deb(mirror, "probe-tool", "probe-library, libc6"),
        deb(mirror, "probe-library"),
        deb(mirror, "probe-other"),
    ]
    (mirror / "Packages").write_bytes(b"".join(entries))
    return mirror


@pytest.fixture
def with_source(engine: ImageEngine, client: APIClient) -> Iterator[Callable[[str], str]]:
    """Make a root file system whose one mirror is this line of sources.list."""
    tags = []

    def make(line: str) -> str:
        files = (
            ("Dockerfile", b"ARG BASE\nFROM ${BASE}\nCOPY sources.list /etc/apt/sources.list\n"),
            ("sources.list", f"{line}\n".encode()),
        )
        tags.append(f"toolwarrant/test:{uuid4().hex[:12]}")
        context = ImageSources(files=files).context()
        return engine.build(context, tag=tags[-1], base=ROOTFS, labels={})

    yield make
    for tag in tags:
        client.remove_image(tag, force=True)


@pytest.fixture
def rootfs_with_mirror(with_source: Callable[[str], str], mirror: Path) -> str:
    """A root file system that trusts the unsigned mirror."""
    return with_source(f"deb [trusted=yes] copy:{mirror} ./")


class TestReading:
    def test_a_folder_that_does_not_say_needs_none(self, tmp_path: Path) -> None:
        """Without the file there are no packages."""
        assert read_packages(tmp_path) == ()

    def test_names_are_sorted(self, tmp_path: Path) -> None:
        """The order of the lines makes no other image."""
        (tmp_path / "packages").write_text("ripgrep\ng++\n7zip\n")
        assert read_packages(tmp_path) == ("7zip", "g++", "ripgrep")

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("", 1),
            ("ripgrep\n\n", 2),
            ("# comment\n", 1),
            ("ripgrep # why\n", 1),
            (" ripgrep\n", 1),
            ("ripgrep\r\n", 1),
            ("a\x0cb\n", 1),
            ("Ripgrep\n", 1),
            ("ripgrep=13\n", 1),
            ("ripgrep/sid\n", 1),
            ("ripgrep:arm64\n", 1),
            ("--allow-unauthenticated\n", 1),
            ("-y\n", 1),
            ("./local.deb\n", 1),
            ("a;reboot\n", 1),
            ("$(reboot)\n", 1),
            ("x\n", 1),
            ("a" * 101 + "\n", 1),
            ("ripgrep\nripgrep\n", 2),
        ],
    )
    def test_anything_but_a_name_is_refused(self, tmp_path: Path, text: str, line: int) -> None:
        """A line that apt or a shell could read as something else is named, never passed on."""
        file = tmp_path / "packages"
        file.write_text(text, newline="")
        with pytest.raises(ConfigurationError) as caught:
            read_packages(tmp_path)
        assert (caught.value.file, caught.value.line) == (str(file), line)

    @pytest.mark.parametrize(
        "content", ["é\n".encode(), b"\n".join([b"p%d" % i for i in range(40)])]
    )
    def test_a_file_that_is_no_list_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """Neither other characters than ASCII nor more than 32 names are taken."""
        (tmp_path / "packages").write_bytes(content)
        with pytest.raises(ConfigurationError, match="packages"):
            read_packages(tmp_path)


class TestLabel:
    def test_no_packages_is_the_root_itself(self) -> None:
        """Tools without packages keep the base that they had."""
        assert packages_label(()) == rootfs_label()

    def test_changes_with_the_packages(self) -> None:
        """Another set is another image."""
        labels = {packages_label(each) for each in [(), ("a1",), ("a1", "b1"), ("b1",)]}
        assert len(labels) == 4


class TestFetching:
    def test_brings_what_is_missing_and_nothing_else(
        self, engine: ImageEngine, rootfs_with_mirror: str, tmp_path: Path
    ) -> None:
        """A package comes with what it needs; what the root has already does not come again."""
        said: list[str] = []
        with Debs(engine, rootfs_with_mirror, tmp_path, said.append) as debs:
            tool, other = debs.fetch(["probe-tool"]), debs.fetch(["probe-other"])
            assert debs.fetch(["probe-tool"]) == tool
        assert [sorted(file.name for file in each.iterdir()) for each in (tool, other)] == [
            ["probe-library_1_all.deb", "probe-tool_1_all.deb"],
            ["probe-other_1_all.deb"],
        ]
        assert said == ["packages: fetching probe-tool", "packages: fetching probe-other"]

    def test_keeps_archives_for_the_next_time(
        self, engine: ImageEngine, rootfs_with_mirror: str, tmp_path: Path
    ) -> None:
        """Later nothing is fetched, mirror or none; nothing half-made is left beside it."""
        with Debs(engine, rootfs_with_mirror, tmp_path, [].append) as debs:
            first = debs.fetch(["probe-tool"])
        shutil.rmtree(tmp_path / "mirror")
        with Debs(engine, rootfs_with_mirror, tmp_path, [].append) as debs:
            assert debs.fetch(["probe-tool"]) == first
        assert list((tmp_path / "packages").iterdir()) == [first]

    def test_what_nobody_signed_is_refused(
        self,
        engine: ImageEngine,
        with_source: Callable[[str], str],
        mirror: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The same mirror, not declared trusted, gives nothing, whatever this machine lets pass."""
        loose = tmp_path / "loose.conf"
        loose.write_text('Acquire::AllowInsecureRepositories "true";\n')
        monkeypatch.setenv("APT_CONFIG", str(loose))
        unsigned = with_source(f"deb copy:{mirror} ./")
        with (
            Debs(engine, unsigned, tmp_path, [].append) as debs,
            pytest.raises(ImageBuildFailed, match="does not have a Release file"),
        ):
            debs.fetch(["probe-tool"])
        assert list((tmp_path / "packages").iterdir()) == []

    def test_a_package_that_is_nowhere_is_named(
        self, engine: ImageEngine, rootfs_with_mirror: str, tmp_path: Path
    ) -> None:
        """The message carries apt's words with a remedy; nothing is kept."""
        with (
            Debs(engine, rootfs_with_mirror, tmp_path, [].append) as debs,
            pytest.raises(ImageBuildFailed, match=r"probe-none(.|\n)*docker load"),
        ):
            debs.fetch(["probe-none"])
        assert list((tmp_path / "packages").iterdir()) == []


class TestImages:
    def test_only_who_asks_gets_them(self, client: APIClient, images: dict[str, str]) -> None:
        """ripgrep and poppler are in the image of the tool that names them, in no other."""
        look = ("sh", "-c", "ls /usr/bin/rg /usr/bin/pdftotext 2>/dev/null || true")
        found = {name: run(client, image, *look).split() for name, image in images.items()}
        assert {name: paths for name, paths in found.items() if paths} == {
            "text_search": ["/usr/bin/rg"],
            "pdf_text": ["/usr/bin/pdftotext"],
        }

    @pytest.mark.parametrize("name", ["text_search", "pdf_text"])
    def test_no_file_of_theirs_gives_rights(
        self, client: APIClient, images: dict[str, str], name: str
    ) -> None:
        """No setuid or setgid file is left; below the base, where nothing strips them, they are."""
        find = ("find", "/", "-xdev", "-type", "f", "-perm", "/6000")
        (packages,) = {read_packages(tools_dir() / name)}
        below = f"toolwarrant/packages:{packages_label(packages)[:12]}"
        assert run(client, images[name], *find) == ""
        assert "/usr/bin/su\n" in run(client, below, *find)

    @pytest.mark.parametrize("name", ["text_search", "pdf_text"])
    def test_no_archive_or_list_is_left_in_sight(
        self, client: APIClient, images: dict[str, str], name: str
    ) -> None:
        """The image shows neither the archives that it was made from nor lists of a mirror."""
        look = ("find", "/var/cache/apt/archives", "/var/lib/apt/lists", "-type", "f")
        left = run(client, images[name], *look).split()
        assert [path for path in left if not path.endswith("/lock")] == []
