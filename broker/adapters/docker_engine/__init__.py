"""Run sandboxes as containers of a Docker Engine."""

from broker.adapters.docker_engine.engine import DockerEngine

__all__ = ["DockerEngine"]
