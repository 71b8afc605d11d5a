"""Hold one identity's connection to a broker."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from broker import config as configuration
from broker.client_attempts import Attempts
from broker.client_channel import open_channel
from broker.client_files import WorkspaceFiles
from broker.v1 import (
    admin_pb2_grpc,
    approval_pb2_grpc,
    execution_pb2_grpc,
    policy_pb2_grpc,
    receipt_pb2_grpc,
    tool_pb2_grpc,
)

CONFIG_VARIABLE = "TOOLWARRANT_CONFIG"

_PAGE = 200

_Item = TypeVar("_Item")


def config_path(path: Path | str | None = None) -> Path:
    """Say which configuration counts: this one, else `$TOOLWARRANT_CONFIG`, else the local one."""
    return Path(path or os.environ.get(CONFIG_VARIABLE) or "toolwarrant.toml")


class Connection:
    """What every part of the client asks through.

    Args:
        channel: An open channel; it is closed with the client.
        target: Where it leads, for messages.
        sleep: Waits between attempts, in seconds.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        target: str = "the broker",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._channel = channel
        self._target = target
        self._attempts = Attempts(target, sleep)
        self._files = WorkspaceFiles(channel, self._attempts)
        self._execution = execution_pb2_grpc.ExecutionServiceStub(channel)
        self._tools = tool_pb2_grpc.ToolServiceStub(channel)
        self._approval = approval_pb2_grpc.ApprovalServiceStub(channel)
        self._policy = policy_pb2_grpc.PolicyServiceStub(channel)
        self._receipts = receipt_pb2_grpc.ReceiptServiceStub(channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)

    @classmethod
    def from_config(
        cls,
        path: Path | str | None = None,
        identity: str = "agent",
        *,
        address: str | None = None,
    ) -> Self:
        """Connect by mutual TLS with the pair `pki/<identity>` beside a configuration.

        Args:
            path: By default `$TOOLWARRANT_CONFIG`, else `toolwarrant.toml` here.
            identity: Name of the pair, such as `agent` or `approver`.
            address: `host:port`, where the broker is reached by another one than it listens on.

        Raises:
            ConfigurationError: The configuration, or the pair, cannot be read.
        """
        config = configuration.load(config_path(path))
        channel, target = open_channel(config, identity, address)
        return cls(channel, target=target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls go on."""
        self._channel.close()


def listed(
    page: Callable[[int, str], tuple[list[_Item], str]], limit: int | None
) -> Iterator[_Item]:
    """Follow the pages of a list.

    Args:
        page: Gives that many entries at the most, from the place that a token names, with the
            token of the next; empty after the last.
        limit: How many entries at the most.
    """
    token, given = "", 0
    while limit is None or given < limit:
        size = _PAGE if limit is None else min(_PAGE, limit - given)
        items, token = page(size, token)
        yield from items
        given += len(items)
        if not token:
            return
