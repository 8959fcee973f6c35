"""The style of all figures, in one place; without matplotlib, which is imported where figures are drawn.

The colours are those of Okabe and Ito (2008, *Color Universal Design*), which readers with any kind of colour blindness
can tell apart. One thing has one colour in all figures: seeds those of :data:`SEEDS` in order, ways to choose
hyperparameters and estimators of a hypergradient the names below. There are fewer colours than things, so a colour may
mean one thing among ways and another among estimators; no figure compares the two kinds but by the names here.
"""

from __future__ import annotations

import functools

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, YELLOW)  # in the order in which they are given out
SEEDS = CYCLE
DPI = 150  # of files

# Ways to choose hyperparameters. Where searches are not told apart, they are SEARCHED.
DEFAULT = "0.55"  # nothing was chosen: usual values, the start, everything that was not tuned
CONSTANT = "0.2"  # the best of a grid: one constant, or a shape of few numbers
LEARNED, LEARNED_TOO = BLUE, SKY  # along the hypergradient; where a figure has two of them, the second
SEARCHED, SEARCHED_TOO = VERMILION, ORANGE
RANDOM_SEARCH, TPE, EVOLUTION = PURPLE, ORANGE, VERMILION  # evolution: CMA-ES, and the (1+1) strategy
OWN_RULE = GREEN  # a rule that needs no schedule, whatever tuned it

CALM, CHAOTIC = BLUE, ORANGE  # the two sides of the edge of chaos

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {[colour.removeprefix('#') for colour in CYCLE]})",
    "pdf.fonttype": 42,  # letters as letters, not as drawings of each
}


def darker(colour: str) -> str:
    """A colour with three fifths of its light, for the longer or stronger of two of the same kind."""
    return "#" + "".join(f"{round(0.6 * int(colour[at : at + 2], 16)):02X}" for at in (1, 3, 5))


# Estimators of a hypergradient; of two horizons of one kind, the longer is the second.
EXACT, FORWARD, SMOOTHED, MIXED = BLACK, "0.6", ORANGE, VERMILION
TRUNCATED, TRUNCATED_LONG = SKY, BLUE
PERSISTENT, PERSISTENT_LONG = GREEN, darker(GREEN)
IMPLICIT, IMPLICIT_NEUMANN = PURPLE, darker(PURPLE)


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
