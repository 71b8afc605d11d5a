"""Speak to the Docker Engine about images."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import requests
from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from broker.errors import ImageBuildFailed

SOURCES_LABEL = "org.toolwarrant.sources-sha256"

_KEPT_LOG_LINES = 20


class ImageEngine:
    """Images of one Engine. Not thread-safe.

    Args:
        base_url: Where the Engine listens, such as `unix:///var/run/docker.sock`.
        timeout_s: How long one answer of the Engine may take; a silent build step counts.

    Raises:
        ImageBuildFailed: The Engine does not answer.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 900) -> None:
        self._base_url = base_url
        with _translated(f"reach the Docker Engine on {base_url}"):
            self._client = APIClient(base_url=base_url, version="auto", timeout=int(timeout_s))

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def find(self, reference: str, label: str) -> str | None:
        """Find the id of an image that was built from exactly the sources behind this label."""
        with _translated(f"look up image {reference}"):
            try:
                image = self._client.inspect_image(reference)
            except ImageNotFound:
                return None
        labels = image["Config"].get("Labels") or {}
        return cast("str", image["Id"]) if labels.get(SOURCES_LABEL) == label else None

    def has(self, reference: str) -> bool:
        """Say whether an image of this reference is in the Engine."""
        try:
            with _translated(f"look up image {reference}"):
                self._client.inspect_image(reference)
        except ImageBuildFailed as failure:
            if isinstance(failure.__cause__, ImageNotFound):
                return False
            raise
        return True

    def registry_has(self, reference: str, *, timeout_s: float) -> bool:
        """Say whether the Engine reaches the registry of this reference, and soon."""
        try:
            probe = APIClient(base_url=self._base_url, version="auto", timeout=int(timeout_s))
            try:
                probe.inspect_distribution(reference)
            finally:
                probe.close()
        except (DockerException, requests.RequestException):
            # Any failure means the same here: the base image has to be made another way.
            return False
        return True

    def pull(self, reference: str) -> None:
        """Fetch an image named by its digest from its registry.

        Raises:
            ImageBuildFailed: It did not come.
        """
        with _translated(f"pull {reference}"):
            self._follow(self._client.pull(reference, stream=True, decode=True), reference)

    def build(self, context: IO[bytes], *, tag: str, base: str, labels: Mapping[str, str]) -> str:
        """Build an image from a packed context; its Dockerfile starts `ARG BASE`, `FROM ${BASE}`.

        Returns:
            The image's id.

        Raises:
            ImageBuildFailed: A step failed; the message ends with the builder's last lines.
        """
        with _translated(f"build {tag}"):
            events = self._client.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                buildargs={"BASE": base},
                labels=dict(labels),
                rm=True,
                forcerm=True,
                decode=True,
            )
            self._follow(events, tag)
            return cast("str", self._client.inspect_image(tag)["Id"])

    def import_root(self, tar: Path, *, repository: str, tag: str, label: str) -> str:
        """Make an image of one layer from a root file system.

        Returns:
            The image's id.

        Raises:
            ImageBuildFailed: The Engine refused it.
        """
        with _translated(f"import {tar}"):
            self._client.import_image_from_file(
                str(tar),
                repository=repository,
                tag=tag,
                changes=[f"LABEL {SOURCES_LABEL}={label}"],
            )
            return cast("str", self._client.inspect_image(f"{repository}:{tag}")["Id"])

    def files(self, image: str, path: str) -> dict[str, bytes]:
        """Read the regular files of an image at or below a path, by their path from its parent.

        Raises:
            ImageBuildFailed: The image has no such path, or the Engine does not give it.
        """
        with _translated(f"read {path} of {image}"):
            # Never started: the Engine gives files of a container only.
            container = self._client.create_container(image, ["/bin/true"])["Id"]
            try:
                stream, _ = self._client.get_archive(container, path)
                packed = io.BytesIO(b"".join(stream))
            finally:
                self._client.remove_container(container, force=True)
            with tarfile.open(fileobj=packed) as tar:
                return {
                    member.name: content.read()
                    for member in tar
                    if (content := tar.extractfile(member) if member.isreg() else None)
                }

    @staticmethod
    def _follow(events: Iterator[dict[str, object]], subject: str) -> None:
        log: list[str] = []
        for event in events:
            log += str(event.get("stream", "")).rstrip().splitlines()
            if "error" in event:
                last = "\n".join(log[-_KEPT_LOG_LINES:])
                raise ImageBuildFailed(f"{subject}: {event['error']}\n{last}".rstrip())


@contextmanager
def _translated(intent: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise ImageBuildFailed(f"could not {intent}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException, OSError, tarfile.TarError) as error:
        raise ImageBuildFailed(
            f"could not {intent}: {error}; is the Docker Engine running, and may this user use it?"
        ) from error
