"""Draw the samples behind figures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from bench.figure import Figure

_COLUMNS = 2
_WIDTH, _HEIGHT = 7.0, 3.4


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write one picture: for each figure with samples, which share of them took how long.

    Figures of the same samples, such as two percentiles, share a plot.
    """
    mpl.use("agg")
    drawn = {id(figure.samples): figure for figure in reversed(figures) if figure.samples}
    if not drawn:
        return
    shown = list(reversed(drawn.values()))
    rows = -(-len(shown) // _COLUMNS)
    sheet, places = pyplot.subplots(
        rows, _COLUMNS, squeeze=False, figsize=(_WIDTH * _COLUMNS, _HEIGHT * rows)
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
    place.set_title(figure.name, fontsize=9)
    # Two sides that differ by a factor of 100 are both to be seen.
    place.set_xscale("log")
    place.set_xlabel(figure.unit)
    place.set_ylabel("share of the calls")
    place.grid(visible=True, which="both", alpha=0.2)
    place.legend(fontsize=8, loc="lower right")
