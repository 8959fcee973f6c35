"""The errors of the package. Each names the value, the place and the way out."""

__all__ = [
    "AdjointError",
    "AllDivergedError",
    "ArgumentError",
    "BufferWarning",
    "CacheWarning",
    "CallbackError",
    "CostWarning",
    "DataError",
    "DifferentiationError",
    "DivergedError",
    "FitError",
    "FixedPointOverflowError",
    "HypergradError",
    "HypergradientError",
    "ImpureLossError",
    "InUseError",
    "LossDerivativeError",
    "LossError",
    "LossGradientWarning",
    "MemoryBudgetError",
    "MissingExtraError",
    "NestError",
    "NonFiniteGradientWarning",
    "NonFiniteHypergradientError",
    "NonFiniteLossGradientError",
    "OtherFunctionError",
    "PrecisionWarning",
    "ReversalError",
    "ScheduleError",
    "StoreError",
    "UnusedHyperWarning",
]


def __dir__():
    return __all__


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


class FitError(HypergradError, ValueError):
    """Points that a law cannot be fitted to."""


class MissingExtraError(HypergradError, ImportError):
    """An optional library is not installed; says how to install it."""


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


class AllDivergedError(HypergradError, ArithmeticError):
    """Every trial of a grid diverged.

    Attributes:
      trials: the :class:`hypergrad.runs.Trials`, with what came out and where each of them diverged.
    """

    def __init__(self, trials, where: str):
        super().__init__(trials, where)
        self.trials, self.where = trials, where

    def message(self) -> str:
        return (
            f"all {len(self.trials.rows)} trials diverged: {self.where}; lower the learning rate or the scale of the "
            "initial parameters (the error's .trials has all that came out)"
        )


class NonFiniteLossGradientError(HypergradError, ArithmeticError):
    """The gradient of the loss is not finite, although the parameters are: the loss's fault, not divergence.

    Attributes:
      step: the step (from 0) at which it is not.
      place: the leaf.
      value: of the loss there.
      norm: Euclidean norm of all parameters there.
    """

    def __init__(self, step: int, what: str, place: str, value: float, norm: float, why: str):
        super().__init__(step, what, place, value, norm, why)
        self.step, self.what, self.place, self.value, self.norm, self.why = step, what, place, value, norm, why

    def message(self) -> str:
        return (
            f"the loss's gradient is {self.what} at step {self.step} in {self.place}{self.why}, where the loss is "
            f"{self.value:.4g} and the norm of the parameters {self.norm:.3g}; the loss itself has no derivative there "
            "(a norm or square root at 0, a logarithm of 0, 0/0): start elsewhere, or write it with a derivative "
            "there, such as sqrt(x² + ε)"
        )


class LossGradientWarning(RuntimeWarning):
    """A point of a probe has no value, because the loss has no gradient somewhere; not because training diverged."""


class ImpureLossError(HypergradError, RuntimeError):
    """The loss is not a pure function of (params, hyper, step): a step computed again gave something else.

    Attributes:
      step: the step (from 0).
      what: what differed.
    """

    def __init__(self, step: int, what: str):
        super().__init__(step, what)
        self.step, self.what = step, what

    def message(self) -> str:
        return (
            f"step {self.step} was computed again, and {self.what} was not the same: the loss is not a function of "
            "params, hyper and step alone, so its derivative through training would be wrong. Usual causes: random "
            "numbers from a generator that goes on (make one from the step: numpy.random.default_rng((seed, step))); "
            "running statistics; a loader that goes on (choose the minibatch by the step); one buffer filled again at "
            "every step (make a new array). check_purity=False switches this check off"
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


class PrecisionWarning(UserWarning):
    """A number could not be represented as finely as it was given."""


class CostWarning(UserWarning):
    """The memory budget makes a derivative much more expensive than it needs to be."""


class UnusedHyperWarning(UserWarning):
    """The loss does not use the ``hyper`` that is being differentiated."""


class BufferWarning(UserWarning):
    """Buffers of a PyTorch module that change in training, such as running statistics, are not what one may expect."""


class NonFiniteGradientWarning(RuntimeWarning):
    """A derivative through training overflowed although the training itself did not."""


class StoreError(HypergradError, OSError):
    """A result could not be stored; names the path, and what was finished before is kept."""


class InUseError(HypergradError, RuntimeError):
    """Another run works in a folder; says which."""


class OtherFunctionError(HypergradError, ValueError):
    """The results stored in a folder are not those of the function that is to go on there."""


class CallbackError(HypergradError, RuntimeError):
    """A callback raised an error; it is the ``__cause__``. What was computed before is kept."""


class HypergradientError(HypergradError, AssertionError):
    """Two ways to compute a derivative disagree."""


class LossDerivativeError(HypergradientError):
    """A derivative that is written out for a loss is not that of the loss."""


class CacheWarning(UserWarning):
    """A cached result could not be used and is computed again."""
