"""The style of all figures. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import functools

STYLE = {"figure.dpi": 100, "savefig.dpi": 150, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


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
