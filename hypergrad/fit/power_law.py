"""Power laws with a floor: fitted robustly to logarithms, with bootstrap intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import ArgumentError, FitError

_BOOTSTRAP = 31  # the purpose of these random numbers, in seeds (seed, purpose)
_WIDE = 0.1  # the δ that fits begin with: nearly a sum of squares, which has no kinks to be caught in
_LARGEST_EXPONENT = 10.0
_LOWEST_FLOOR = 30.0  # in nats below the lowest y: as good as no floor
_TRIES = 100  # at a bootstrap sample that holds enough different points


@dataclass(frozen=True, repr=False, eq=False)
class PowerLaw:
    """A law y = E + A x^−α, or y = E + Σₖ Aₖ xₖ^−αₖ, and how sure it is.

    Attributes:
      floor: E ≥ 0, in units of y.
      scale: A; for several variables a dict of Aₖ by name.
      exponent: α ≥ 0; likewise.
      residuals: log y less the log of the law, shape (n,).
      loss: Σ Huber(residuals), what was minimised.
      names: of the variables, () if x was an array.
      samples: bootstrap fits, shape (bootstraps, 1 + 2 variables): log E, log A of each variable, α of each.
    """

    floor: float
    scale: Any
    exponent: Any
    residuals: np.ndarray
    loss: float
    names: tuple[str, ...]
    samples: np.ndarray

    def __repr__(self):
        terms = [
            f"{a:.4g} {name}^−{b:.4g}"
            for name, a, b in zip(self.names or ("x",), *map(self._listed, (self.scale, self.exponent)))
        ]
        return f"PowerLaw({self.floor:.4g} + {' + '.join(terms)}; {len(self.residuals)} points)"

    def _listed(self, values) -> list[float]:
        return [values[name] for name in self.names] if self.names else [values]

    def predict(self, x) -> Any:
        """The law at x > 0, also outside the fit: a number or an array, or a mapping of those by the variables' names.

        Raises:
          FitError: values that are not positive and finite, or other names.
        """
        logs, shape = _logs(x, self.names)
        theta = np.r_[np.log(self.floor), np.log(self._listed(self.scale)), self._listed(self.exponent)]
        return np.exp(log_law(theta, logs)).reshape(shape)[()]

    def interval(self, what: str, level: float = 0.95) -> Any:
        """The percentile bootstrap interval (low, high) of ``"floor"``, ``"scale"`` or ``"exponent"``.

        For several variables the latter two are dicts of intervals by name.

        Raises:
          ArgumentError: another name, a ``level`` outside (0, 1), or a law fitted with ``bootstraps=0``.
        """
        count = len(self.names) or 1
        columns = {"floor": [0], "scale": range(1, 1 + count), "exponent": range(1 + count, 1 + 2 * count)}
        if what not in columns:
            raise ArgumentError(f'there is no interval of {what!r}: ask for "floor", "scale" or "exponent"')
        found = []
        for column in columns[what]:
            values = self._sampled()[:, column]
            low, high = _percentiles(values if what == "exponent" else np.exp(values), level)
            found.append((float(low), float(high)))
        return dict(zip(self.names, found)) if self.names and what != "floor" else found[0]

    def predicted_interval(self, x, level: float = 0.95) -> tuple[Any, Any]:
        """The percentile bootstrap interval (low, high) of the law at x, each in the shape of x.

        It is that of the law; a single further y scatters around it.

        Raises:
          FitError, ArgumentError: as :meth:`predict` and :meth:`interval`.
        """
        logs, shape = _logs(x, self.names)
        values = np.array([np.exp(log_law(theta, logs)) for theta in self._sampled()])
        low, high = _percentiles(values, level)
        return low.reshape(shape)[()], high.reshape(shape)[()]

    def _sampled(self) -> np.ndarray:
        if not len(self.samples):
            raise ArgumentError("a law fitted with bootstraps=0 has no intervals: fit it with bootstraps=200")
        return self.samples


class Points(NamedTuple):
    """What a law is fitted to: logarithms of the variables (k, n), less their means, and of y (n,)."""

    logs: np.ndarray
    centre: np.ndarray
    log_y: np.ndarray
    names: tuple[str, ...]

    def chosen(self, rows) -> Points:
        return self._replace(logs=self.logs[:, rows], log_y=self.log_y[rows])

    def missing(self) -> str:
        """In words what keeps the law from being determined; empty if nothing does."""
        count, points = len(self.logs), self.log_y.size
        parameters = 1 + 2 * count
        if points < parameters:
            return f"a law of {parameters} parameters needs at least as many points, got {points}"
        for name, row in zip(self.names or ("x",), self.logs):
            different = len(np.unique(row))
            if different < 3:
                return f"{name} has {different} distinct value{'s' * (different > 1)}: a law with a floor needs three"
        if (different := len(np.unique(self.logs, axis=1).T)) < parameters:
            return f"a law of {parameters} parameters needs as many distinct points, got {different}"
        return ""


def power_law(
    x, y, *, delta: float = 1e-3, starts: int = 10, bootstraps: int = 200, resample: str = "points", seed: int = 0
) -> PowerLaw:
    """Fit a power law with a floor.

        y ≈ E + A x^−α    or, for a mapping of several variables,    y ≈ E + Σₖ Aₖ xₖ^−αₖ

    by minimising, with L-BFGS from many starts,

        Σᵢ Huber_δ( LSE(log E, …, log Aₖ − αₖ log xₖᵢ, …) − log yᵢ ),    Huber_δ(r) = r²/2, or δ(|r| − δ/2) past δ,

    with LSE(z) = log Σ exp z: a sum of squares for small deviations of the logs, of magnitudes for large ones, so that
    single points that are far off do not draw the law to them. Exponents lie in [0, 10]; a law that rises is one of
    1/x.

    Args:
      x: positive numbers, shape (n,); or a mapping such as ``{"N": …, "D": …}``, with an exponent for each.
      y: positive numbers, shape (n,).
      delta: δ > 0, in units of log y.
      starts: from how many starts, the best of a grid over floors, exponents and shares, L-BFGS descends.
      bootstraps: for how many samples, each from the fit, it is fitted again; 0 for a law without intervals.
      resample: what a sample is. "points": n points drawn with replacement, whatever their scatter is like.
        "residuals": the same x, with y of the law times exp of residuals, drawn with replacement and widened by
        √(n / (n − parameters)): for so few points that samples of them miss some x. Their intervals are somewhat
        narrow, since a small δ lets the law pass through some points: of 100 draws they held 84 to 94 at nominally
        95 %, those of points 93 to 98 (experiment ``depth_trials``, part 3).
      seed: of the samples.

    Returns:
      A :class:`PowerLaw`.

    Raises:
      FitError: fewer points than parameters, fewer than three distinct values of a variable, y or x that are not
        positive and finite, or lengths that differ.
      ArgumentError: a bad option.

    Cost: one minimisation a start and a bootstrap, some milliseconds each. Memory: that of the points.

    Source: Hoffmann et al. (2022), approach 3, for form, loss and δ; Besiroglu et al. (2024) for doing it again from
    points, with the sum and not the mean of the losses, which stops too early.

    >>> x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    >>> law = power_law(x, 0.5 + 2.0 * x**-0.7, bootstraps=0)
    >>> law
    PowerLaw(0.5 + 2 x^−0.7; 5 points)
    >>> round(float(law.predict(100.0)), 4)
    0.5796
    """
    points = checked(x, y)
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0.0 < delta < np.inf:
        raise ArgumentError(f"delta must be a positive number, got {delta!r}")
    if resample not in ("points", "residuals"):
        raise ArgumentError(f'resample must be "points" or "residuals", got {resample!r}')
    starts, bootstraps = check_integer(starts, "starts", 1), check_integer(bootstraps, "bootstraps", 0)
    rng = np.random.default_rng((check_integer(seed, "seed", 0), _BOOTSTRAP))
    theta, loss = fitted(points, delta, starts)
    samples = [refitted(sample, theta, delta)[0] for sample in _samples(points, theta, resample, bootstraps, rng)]
    rows = _uncentred(np.reshape([theta, *samples], (-1, theta.size)), points.centre)
    count, names = len(points.logs), points.names
    scales, exponents = np.exp(rows[0, 1 : 1 + count]).tolist(), rows[0, 1 + count :].tolist()
    return PowerLaw(
        float(np.exp(theta[0])),
        dict(zip(names, scales)) if names else scales[0],
        dict(zip(names, exponents)) if names else exponents[0],
        points.log_y - log_law(theta, points.logs),
        loss,
        names,
        rows[1:],
    )


def checked(x, y) -> Points:
    """The points as the fit takes them.

    Raises:
      FitError: a law cannot be fitted to them.
    """
    names = tuple(x) if isinstance(x, Mapping) else ()
    if isinstance(x, Mapping) and not names:
        raise FitError("x is an empty mapping: it must have a variable, such as {'N': …}")
    logs, shape = _logs(x, names)
    values = _positive(y, "y")
    if values.ndim != 1 or shape != values.shape:
        raise FitError(f"x and y must be one-dimensional and of the same length, got shapes {shape} and {values.shape}")
    centre = logs.mean(axis=1)
    points = Points(logs - centre[:, None], centre, np.log(values), names)
    if words := points.missing():
        raise FitError(words)
    return points


def _logs(x, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Logarithms of all variables, (k, n), and the shape that they have."""
    if names and not (isinstance(x, Mapping) and set(x) == set(names)):
        raise FitError(f"x must be a mapping with the variables {', '.join(names)}, got {x!r}")
    arrays = [_positive(x[name], name) for name in names] if names else [_positive(x, "x")]
    if len({a.shape for a in arrays}) > 1:
        raise FitError(f"the variables must have the same length, got shapes {', '.join(str(a.shape) for a in arrays)}")
    return np.log([np.ravel(a) for a in arrays]), arrays[0].shape


def _positive(values, name: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise FitError(f"{name} must be numbers, got {values!r}") from None
    wrong = ~(np.isfinite(array) & (array > 0.0))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise FitError(
            f"{place} is {array[index]}: a power law is fitted to logarithms, of positive and finite numbers; leave out"
            " trials that diverged, and what is exactly 0"
        )
    return array


def fitted(points: Points, delta: float, starts: int) -> tuple[np.ndarray, float]:
    """The parameters with the lowest loss, from many starts, and that loss."""
    wide = max(delta, _WIDE)
    grid = sorted(_grid(points), key=lambda theta: _loss(theta, points, wide)[0])[:starts]
    found = [refitted(points, refitted(points, theta, wide)[0], delta) for theta in grid]
    return min(found, key=lambda pair: pair[1])


def refitted(points: Points, theta: np.ndarray, delta: float) -> tuple[np.ndarray, float]:
    """The parameters after a descent from ``theta``, and their loss."""
    from scipy.optimize import minimize

    count, low, high = len(points.logs), points.log_y.min(), points.log_y.max()
    around = (low - _LOWEST_FLOOR, high + _LOWEST_FLOOR)
    bounds = [(low - _LOWEST_FLOOR, high), *[around] * count, *[(0.0, _LARGEST_EXPONENT)] * count]
    start = np.clip(theta, *np.transpose(bounds))
    options = {"maxiter": 2_000, "maxfun": 4_000, "ftol": 1e-9, "gtol": 1e-7}
    found = minimize(_loss, start, (points, delta), "L-BFGS-B", jac=True, bounds=bounds, options=options)
    return found.x, float(found.fun) * delta**2


def _grid(points: Points):
    """Starts: floors, exponents and shares of the variables, with the scale that suits them best."""
    count, y = len(points.logs), np.exp(points.log_y)
    exponents = (0.1, 0.3, 0.6, 1.0, 2.0) if count < 3 else (0.2, 0.5, 1.0)
    shares = [(1.0,)] if count == 1 else [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)] if count == 2 else [(1 / count,) * count]
    for part, *alphas in itertools.product((0.01, 0.3, 0.6, 0.9, 0.99), *[exponents] * count):
        floor = part * y.min()
        for share in shares:
            form = np.log(np.sum(np.array(share)[:, None] * np.exp(-np.array(alphas)[:, None] * points.logs), axis=0))
            yield np.array([np.log(floor), *(np.log(share) + np.median(np.log(y - floor) - form)), *alphas])


def log_law(theta: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """The log of the law, shape (n,)."""
    terms = _terms(theta, logs)
    top = terms.max(axis=0)
    return top + np.log(np.exp(terms - top).sum(axis=0))


def design(theta: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """The derivatives of the log of the law by the parameters, shape (n, 1 + 2 k)."""
    terms = _terms(theta, logs)
    shares = np.exp(terms - log_law(theta, logs))
    return np.concatenate([shares, -shares[1:] * logs]).T


def _terms(theta: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """The logs of the floor and of each variable's part, shape (1 + k, n)."""
    count, points = logs.shape
    terms = np.empty((1 + count, points))
    terms[0] = theta[0]
    terms[1:] = theta[1 : 1 + count, None] - theta[1 + count :, None] * logs
    return terms


def _loss(theta: np.ndarray, points: Points, delta: float) -> tuple[float, np.ndarray]:
    """The sum of Huber losses over δ², so that its size does not depend on δ, and its gradient."""
    terms = _terms(theta, points.logs)
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    u = (top + np.log(total) - points.log_y) / delta
    size, slope = np.abs(u), np.clip(u, -1.0, 1.0)
    parts = shares * (slope / (total * delta))
    gradient = np.concatenate([parts.sum(axis=1), -np.sum(parts[1:] * points.logs, axis=1)])
    return float(np.sum(np.where(size <= 1.0, 0.5 * u * u, size - 0.5))), gradient


def _samples(points: Points, theta: np.ndarray, resample: str, count: int, rng):
    """Bootstrap samples of the points."""
    law, n = log_law(theta, points.logs), points.log_y.size
    residuals = (points.log_y - law) * np.sqrt(n / max(1, n - theta.size))
    for _ in range(count):
        if resample == "residuals":
            yield points._replace(log_y=law + residuals[rng.integers(0, n, n)])
            continue
        for _ in range(_TRIES):
            sample = points.chosen(rng.integers(0, n, n))
            if not sample.missing():
                break
        else:
            raise FitError(
                f"of {n} points, {_TRIES} samples with replacement all held too few distinct ones: give more points, "
                'or resample="residuals"'
            )
        yield sample


def _uncentred(theta: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rows of parameters for the logarithms of the variables themselves."""
    count, rows = len(centre), theta.copy()
    rows[:, 1 : 1 + count] += rows[:, 1 + count :] * centre
    return rows


def _percentiles(values: np.ndarray, level: float) -> np.ndarray:
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"level must lie in (0, 1), got {level!r}")
    return np.percentile(values, [50.0 * (1.0 - level), 50.0 * (1.0 + level)], axis=0)
