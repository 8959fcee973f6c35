"""What is on the axes of a figure, under any version of matplotlib."""

import numpy as np
from matplotlib.patches import StepPatch
from matplotlib.text import Text


def points(axis) -> np.ndarray:
    """(n, 2): all points of the lines and steps on an axis."""
    pairs = [np.column_stack([np.ravel(a).astype(float) for a in line.get_data()]) for line in axis.lines]
    for patch in axis.patches:
        if isinstance(patch, StepPatch):
            pairs.append(np.column_stack([patch.get_data().edges[:-1], patch.get_data().values]))
    return np.concatenate(pairs)


def shows(axis, x, y) -> None:
    """The points that lie within the frame are drawn, and there are some."""
    x, y = (np.ravel(a).astype(float) for a in np.broadcast_arrays(x, y))
    (left, right), (low, high) = sorted(axis.get_xlim()), sorted(axis.get_ylim())
    inside = (x >= left) & (x <= right) & (y >= low) & (y <= high)
    assert inside.any(), "nothing of it is within the frame"
    drawn = {pair for pair in map(_rounded, points(axis)) if pair is not None}
    missing = [pair for pair in np.column_stack([x, y])[inside] if _rounded(pair) not in drawn]
    assert not missing, f"{len(missing)} of {inside.sum()} points are not drawn, such as {missing[0]}"


def _rounded(pair):
    return tuple(f"{value:.9e}" for value in pair) if np.isfinite(pair).all() else None


def marks(axis, at) -> None:
    """There is a vertical line at each of these places."""
    places = [line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) and np.ptp(line.get_xdata()) == 0.0]
    assert set(at) <= set(places), (at, places)


def says(figure, *words) -> None:
    """Each of these is one of the figure's texts, or a part of one."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    missing = [word for word in words if not any(word in text for text in texts)]
    assert not missing, missing
