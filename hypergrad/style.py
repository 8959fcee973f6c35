"""The style of all figures, in one place; without matplotlib, which is imported where figures are drawn.

The colours are those of Okabe and Ito (2008, *Color Universal Design*), which readers with any kind of colour blindness
can tell apart. One thing has one colour in all figures: seeds those of :data:`SEEDS` in order.
"""

from __future__ import annotations

import functools

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, YELLOW)  # in the order in which they are given out
SEEDS = CYCLE
DPI = 150  # of files

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {[colour.removeprefix('#') for colour in CYCLE]})",
    "pdf.fonttype": 42,  # letters as letters, not as drawings of each
}


def seed_colour(seed: int) -> str:
    """The colour of a random initialisation, in every figure."""
    return SEEDS[seed % len(SEEDS)]


def in_style(plot):
    """A function ``plot(…, plt)`` that returns a figure, drawn in the style of all figures and closed for pyplot."""

    @functools.wraps(plot)
    def drawn(*args, **options):
        import matplotlib.pyplot as plt

        with plt.rc_context(STYLE):
            figure = plot(*args, plt, **options)
        plt.close(figure)  # out of pyplot's list; the figure itself stays usable
        return figure

    return drawn
