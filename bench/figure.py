"""Say what was measured: ratios of medians, with what they stand on."""

import json
import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("toolwarrant", "grpcio", "protobuf", "uvloop", "wasmtime", "docker", "rfc8785")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One ratio with its bound.

    Args:
        name: What is compared with what.
        unit: Of the two medians, such as `ms`.
        ours: Median of the broker's side.
        theirs: Median of the other side; of the same run, measured in turns with ours.
        bound: What the ratio `ours / theirs` may be at most, or at least; None where the figure is
            for information.
        at_most: Whether the bound is an upper one.
        conditions: Counts and sizes.
        samples: What the medians are of, by side; none where there is nothing to draw.
    """

    name: str
    unit: str
    ours: float
    theirs: float
    bound: float | None
    at_most: bool = True
    conditions: str
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours as a multiple of theirs."""
        return self.ours / self.theirs

    @property
    def is_met(self) -> bool:
        """Tell whether the ratio is within its bound."""
        if self.bound is None:
            return True
        return self.ratio <= self.bound if self.at_most else self.ratio >= self.bound


def quantiles(values: Sequence[float]) -> str:
    """Write the spread of a sample, in its own unit; of fewer than 100 p99 is beyond the most."""
    cuts = statistics.quantiles(values, n=100)
    return (
        f"p10 {cuts[9]:.2f}, p50 {cuts[49]:.2f}, p90 {cuts[89]:.2f}, p99 {cuts[98]:.2f}, "
        f"most {max(values):.2f}"
    )


def machine() -> dict[str, str]:
    """Name what the figures depend on."""
    docker = ["docker", "version", "--format", "{{.Server.Version}}"]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": str(os.cpu_count()),
        "load_average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "docker_engine": subprocess.run(docker, capture_output=True, text=True).stdout.strip(),
        **{name: version(name) for name in _PACKAGES},
    }


def table(figures: Sequence[Figure], conditions: dict[str, str]) -> str:
    """Write figures for people, their conditions below.

    A ratio is ours to theirs; MISSED stands behind one that is not within its bound.
    """
    lines = [f"{'figure':<56} {'ours':>12} {'theirs':>12} {'ratio':>7} {'bound':>9}"]
    for figure, following in zip(figures, [*figures[1:], None], strict=True):
        sign = "<=" if figure.at_most else ">="
        bound = "" if figure.bound is None else f"{sign} {figure.bound:.3g}"
        ours, theirs = (f"{value:.2f} {figure.unit}" for value in (figure.ours, figure.theirs))
        missed = "" if figure.is_met else "  MISSED"
        lines.append(
            f"{figure.name:<56} {ours:>12} {theirs:>12} {figure.ratio:>7.3f} {bound:>9}{missed}"
        )
        # Two percentiles of one sample share what stands below them.
        if following is None or following.conditions != figure.conditions:
            lines.append(f"    {figure.conditions}")
    lines += ["", *(f"{name}: {value}" for name, value in conditions.items())]
    return "\n".join(lines)


def write(figures: Sequence[Figure], conditions: dict[str, str]) -> Path:
    """Keep the figures as `bench/results/TIME.json` with the same as text; give the text's path."""
    RESULTS.mkdir(exist_ok=True)
    stem = conditions["at"].replace(":", "").replace("+0000", "Z")
    rows = [{**asdict(figure), "ratio": figure.ratio, "met": figure.is_met} for figure in figures]
    document = {"conditions": conditions, "figures": rows}
    (RESULTS / f"{stem}.json").write_text(json.dumps(document, indent=2) + "\n")
    text = RESULTS / f"{stem}.txt"
    text.write_text(table(figures, conditions) + "\n")
    return text
