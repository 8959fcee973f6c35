"""The errors of the package. Each names the value, the place and the way out."""

import operator


class HypergradError(Exception):
    """Base of every error raised on purpose by hypergrad.

    Attributes:
      context: in what it happened, outermost first, such as "in meta-iteration 2". Whoever it passes through
        may put more before it; the message begins with it.
    """

    context: tuple[str, ...] = ()

    def message(self) -> str:
        """What happened, without the context."""
        return super().__str__()

    def __str__(self):
        return ", ".join([*self.context, self.message()])


class NestError(HypergradError, ValueError):
    """A nest (params, hyper, a schedule) has the wrong structure or a leaf that cannot be used."""


class ScheduleError(HypergradError, ValueError):
    """A hyperparameter of an optimizer has the wrong length or lies outside its range."""


class ArgumentError(HypergradError, ValueError):
    """An argument is outside what the function can do."""


def check_integer(value, name: str, least: int) -> int:
    """The value as an int.

    Raises:
      ArgumentError: it is no integer (True is none), or below ``least``.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise ArgumentError(f"{name} must be an integer ≥ {least}, got {value!r}")
    return operator.index(value)


class LossError(HypergradError, ValueError):
    """The loss given is not a scalar, does not depend on the parameters, or its gradient has the wrong shape."""


class DifferentiationError(HypergradError, TypeError):
    """A derivative was asked for that would be silently wrong."""


class DataError(HypergradError, OSError):
    """A data file is missing or damaged."""


class AdjointError(HypergradError, ValueError):
    """The adjoint asked for cannot differentiate this run; names one that can."""


class MemoryBudgetError(HypergradError, MemoryError):
    """No adjoint fits the memory budget; says the least that would."""


class ReversalError(HypergradError, RuntimeError):
    """A reversed run did not come back to its start bit for bit, or was to be reversed twice."""


class FixedPointOverflowError(HypergradError, OverflowError):
    """A number grew too large for the fixed-point format of exact arithmetic.

    Attributes:
      step: the step (from 0) at which it did.
      largest: the largest magnitude.
    """

    def __init__(self, step: int, largest: float, limit: float, what: str):
        super().__init__(step, largest, limit, what)
        self.step, self.largest, self.limit, self.what = step, largest, limit, what

    def message(self) -> str:
        return (
            f"{self.what} reached {self.largest:.3g} at step {self.step}, but exact arithmetic holds "
            f"magnitudes below {self.limit:g}; scale the problem down, or use exact=False with Checkpointed()"
        )


class DivergedError(HypergradError, ArithmeticError):
    """Training made a parameter non-finite.

    Attributes:
      step: the step (from 0) whose update did it.
      norm: Euclidean norm of all parameters before that update.
    """

    def __init__(self, step: int, norm: float, place: str):
        super().__init__(step, norm, place)
        self.step, self.norm, self.place = step, norm, place

    def message(self) -> str:
        return (
            f"training diverged: the update of step {self.step} made {self.place} non-finite "
            f"(norm of the parameters before it: {self.norm:.3g}); "
            "lower the learning rate or the scale of the initial parameters"
        )


class NonFiniteHypergradientError(HypergradError, ArithmeticError):
    """A hypergradient, or the value it belongs to, is not finite, so that no step can be taken along it.

    Attributes:
      place: the leaf.
    """

    def __init__(self, place: str):
        super().__init__(place)
        self.place = place

    def message(self) -> str:
        return (
            f"{self.place} is not finite: the training lies past the edge of chaos, or overflows; "
            "lower the step size, start with a smaller learning rate, or give take_back=hypergrad.meta.TakeBack()"
        )


class UnusedHyperWarning(UserWarning):
    """The loss does not use the ``hyper`` that is being differentiated."""


class NonFiniteGradientWarning(RuntimeWarning):
    """A derivative through training overflowed although the training itself did not."""


class StoreError(HypergradError, OSError):
    """A result could not be stored; names the path, and what was finished before is kept."""


class InUseError(HypergradError, RuntimeError):
    """Another run works in a folder; says which."""


class OtherFunctionError(HypergradError, ValueError):
    """The results stored in a folder are not those of the function that is to go on there."""
