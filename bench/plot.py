"""Draw the samples behind figures."""

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.figure import Figure

# A plot shows all of a sample, whichever percentile its figure is of.
_PERCENTILE = re.compile(r", p\d+$")
_COLUMNS = 2
_WIDTH, _HEIGHT = 7.0, 3.4


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write one picture: for each figure with samples, which share of them took how long.

    Figures of the same samples, such as two percentiles, share a plot.
    """
    mpl.use("agg")
    shown: list[Figure] = []
    for figure in figures:
        if figure.samples and figure.samples not in [each.samples for each in shown]:
            shown.append(figure)
    if not shown:
        return
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet, places = pyplot.subplots(
        rows, columns, squeeze=False, figsize=(_WIDTH * columns, _HEIGHT * rows)
    )
    for place in places.flat[len(shown) :]:
        place.set_axis_off()
    for place, figure in zip(places.flat, shown, strict=False):
        _draw(place, figure)
    sheet.tight_layout()
    sheet.savefig(path, dpi=110)
    pyplot.close(sheet)


def _draw(place: Axes, figure: Figure) -> None:
    for side, values in figure.samples.items():
        place.ecdf(list(values), label=f"{side} ({len(values)})")
    place.set_title(_PERCENTILE.sub("", figure.name), fontsize=9)
    # Two sides that differ by a factor of 100 are both to be seen.
    place.set_xscale("log")
    # In the unit itself, a few to a decade: powers of ten with a factor ran into one another.
    place.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    place.xaxis.set_minor_formatter(NullFormatter())
    place.set_xlabel(figure.unit)
    place.set_ylabel("share of the calls")
    place.grid(visible=True, which="both", alpha=0.2)
    place.legend(fontsize=8, loc="best")
