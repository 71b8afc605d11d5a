"""Say what a diagnosis found."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """The broker starts; somebody should know."""
    FAIL = "fail"
    """The broker does not start, or no tool runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject; the remedy is empty where nothing is to be done."""

    level: Level
    subject: str
    said: str
    remedy: str


def ok(subject: str, said: str) -> Finding:
    """Make a finding with nothing to be done."""
    return Finding(Level.OK, subject, said, "")


def warn(subject: str, said: str, remedy: str) -> Finding:
    """Make a finding that keeps nothing from working."""
    return Finding(Level.WARN, subject, said, remedy)


def fail(subject: str, said: str, remedy: str) -> Finding:
    """Make a finding that has to be mended."""
    return Finding(Level.FAIL, subject, said, remedy)
