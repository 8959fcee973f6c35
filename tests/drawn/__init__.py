"""What the experiments' figures show, under any version of matplotlib: that their points and words are the results.

:func:`check` looks at what was handed to matplotlib, :func:`same_pixels` at what it made of it, which depends on
its version.
"""

import pytest
from matplotlib.image import imread
from matplotlib.testing.compare import compare_images

from drawn import chaos, data, distributions, estimators, laws, schedules, sequences
from experiments.shared import results
from hypergrad import style


def same_pixels(stored, drawn, drawn_with: str) -> None:
    """Compare two images; another version of matplotlib sets text and lines a little differently."""
    import matplotlib

    if drawn_with != matplotlib.__version__:
        pytest.skip(f"pixels not compared: drawn with matplotlib {drawn_with}, this is {matplotlib.__version__}")
    assert imread(stored).shape == imread(drawn).shape
    assert compare_images(str(stored), str(drawn), tol=5.0) is None


def check(figure, found, config) -> None:
    """Fails if the figure of an experiment does not show these results, or not the words that belong to them."""
    CHECKS[results.kind(config)](figure, found, config)
    means_the_same(figure)


MEANINGS = {
    "hypergradient": (style.LEARNED, style.LEARNED_TOO),
    "cleaned": (style.LEARNED,),
    "search": (style.SEARCHED, style.SEARCHED_TOO),
    "random search": (style.RANDOM_SEARCH,),
    "TPE": (style.TPE,),
    "CMA-ES": (style.EVOLUTION,),
    "exact": (style.EXACT,),
    "forward": (style.FORWARD,),
    "truncated": (style.TRUNCATED, style.TRUNCATED_LONG),
    "persistent": (style.PERSISTENT, style.PERSISTENT_LONG),
    "implicit": (style.IMPLICIT, style.IMPLICIT_NEUMANN),
    "smoothed": (style.SMOOTHED,),
    "mixed": (style.MIXED,),
}  # by what a label begins with, up to a comma


def means_the_same(figure) -> set:
    """Fails if one of these has another colour than in all figures; those that the figure has."""
    seen = set()
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            word = label.partition(",")[0]
            line = handle if hasattr(handle, "get_color") else getattr(handle, "lines", [None])[0]
            if word in MEANINGS and line is not None:
                seen.add(word)
                assert line.get_color() in MEANINGS[word], (label, line.get_color())
    return seen


CHECKS = {
    kind: shows
    for module in (chaos, schedules, distributions, data, estimators, sequences, laws)
    for kind, shows in module.CHECKS.items()
}
