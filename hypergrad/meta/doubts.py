"""Whether a hypergradient met on a descent is in doubt, by what the descent computes anyway."""

from __future__ import annotations

import numpy as np

from ..nests import flatten
from ..probe.edge import rounding
from .evaluation import Evaluation

MISMATCH = 0.5  # the hypergradients at both ends make up for less than half of what happened between them
GROWTH = 1.0  # nats over the second half of a training
ERRORS = 1.0  # standard errors that a mean hypergradient must be away from 0


def mismatch(before: Evaluation, after: Evaluation) -> float:
    """How far hypergradients miss what a step did: |Δf − s̄| / s, with the mean slope s̄ and mean magnitude s.

        s̄ = ⟨g(a) + g(b), b − a⟩ / 2        s = (|⟨g(a), b − a⟩| + |⟨g(b), b − a⟩|) / 2

    of the step from a to b. 0 on a parabola; rounding does not count. NaN where the step led nowhere or to what is not
    finite.
    """
    step = [b - a for a, b in zip(*(flatten(e.free)[0] for e in (before, after)))]
    slopes = [sum(float(np.vdot(g, d)) for g, d in zip(flatten(e.gradient)[0], step)) for e in (before, after)]
    with np.errstate(all="ignore"):
        missed = abs(after.value - before.value - sum(slopes) / 2.0)
        missed -= rounding(np.float64(before.value), np.float64(after.value))
        return float(np.maximum(missed, 0.0) / (sum(map(abs, slopes)) / 2.0))


def doubt(found: Evaluation) -> str:
    """Why the hypergradient of an evaluation is in doubt, in a sentence; empty if nothing speaks against it."""
    reasons = []
    if found.mismatch > MISMATCH:
        reasons.append(
            f"the hypergradients at both ends of the step that led here miss the difference of f by "
            f"{100.0 * found.mismatch:.3g} % of their own size"
        )
    if found.growth > GROWTH:
        reasons.append(f"a tangent grows by a factor {np.exp(min(found.growth, 700.0)):.3g} over half of the training")
    if found.gradient_norm < ERRORS * found.gradient_error:
        reasons.append(
            f"its norm, {found.gradient_norm:.3g}, is below its standard error over the seeds, "
            f"{found.gradient_error:.3g}"
        )
    return "; ".join(reasons)
