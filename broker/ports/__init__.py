"""Name what the story needs of the world, a module for each side; each adapter is one of these."""

from broker.ports.bundle_source import BundleSource, Confirmation, ConfirmationKeeper
from broker.ports.clock import Clock, Entropy
from broker.ports.egress import EgressGateway, Outlet, Resolver
from broker.ports.keys import SecretProvider, Signer
from broker.ports.log import EventRange, LogEntry, LogFiles, LogHead, LogRecord
from broker.ports.policy import PolicyAnswer, PolicyEngine
from broker.ports.record import (
    BUNDLE_PREMISE,
    CLOCK_PREMISE,
    HALTS_PREMISE,
    LABELS_PREMISE,
    PIECE_BYTES,
    RESTORED_PREMISE,
    START_BY_PREMISE,
    CallFilter,
    Change,
    Event,
    EventDraft,
    File,
    KeptBundle,
    StagedFile,
    StoredReceipt,
    WorkspaceUpdate,
)
from broker.ports.sandbox import Sandbox, SandboxEngine
from broker.ports.store import Store
from broker.ports.telemetry import Telemetry
from broker.ports.witness import WitnessGateway

__all__ = [
    "BUNDLE_PREMISE",
    "CLOCK_PREMISE",
    "HALTS_PREMISE",
    "LABELS_PREMISE",
    "PIECE_BYTES",
    "RESTORED_PREMISE",
    "START_BY_PREMISE",
    "BundleSource",
    "CallFilter",
    "Change",
    "Clock",
    "Confirmation",
    "ConfirmationKeeper",
    "EgressGateway",
    "Entropy",
    "Event",
    "EventDraft",
    "EventRange",
    "File",
    "KeptBundle",
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
