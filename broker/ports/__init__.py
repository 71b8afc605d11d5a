"""Name what the story needs of the world, a module for each side; each adapter is one of these."""

from broker.ports.clock import Clock, Entropy
from broker.ports.egress import EgressGateway, Outlet, Resolver
from broker.ports.keys import SecretProvider, Signer
from broker.ports.log import EventRange, LogEntry, LogFiles, LogHead, LogRecord
from broker.ports.policy import PolicyAnswer, PolicyEngine
from broker.ports.record import (
    HALTS_PREMISE,
    LABELS_PREMISE,
    PIECE_BYTES,
    CallFilter,
    Change,
    Event,
    EventDraft,
    File,
    StagedFile,
    StoredReceipt,
    WorkspaceUpdate,
)
from broker.ports.sandbox import Sandbox, SandboxEngine
from broker.ports.store import Store
from broker.ports.telemetry import Telemetry
from broker.ports.witness import WitnessGateway

__all__ = [
    "HALTS_PREMISE",
    "LABELS_PREMISE",
    "PIECE_BYTES",
    "CallFilter",
    "Change",
    "Clock",
    "EgressGateway",
    "Entropy",
    "Event",
    "EventDraft",
    "EventRange",
    "File",
    "LogEntry",
    "LogFiles",
    "LogHead",
    "LogRecord",
    "Outlet",
    "PolicyAnswer",
    "PolicyEngine",
    "Resolver",
    "Sandbox",
    "SandboxEngine",
    "SecretProvider",
    "Signer",
    "StagedFile",
    "Store",
    "StoredReceipt",
    "Telemetry",
    "WitnessGateway",
    "WorkspaceUpdate",
]
