"""The Engine of this machine, with a way to look into an image."""

from docker import APIClient

ENGINE = "unix:///var/run/docker.sock"


def run(engine: APIClient, image: str, *command: str) -> str:
    """Give what a command prints in a container of this image."""
    container = engine.create_container(image, list(command), network_disabled=True)["Id"]
    try:
        engine.start(container)
        engine.wait(container)
        return engine.logs(container).decode()
    finally:
        engine.remove_container(container, force=True)
