"""What an optimizer is: a pure update rule for one array.

For one array, with parameters ``w``, state ``s``, gradient ``g`` and hyperparameters ``h`` at that step (a named
tuple of floats), ``step`` computes (w, s) after the update. Its derivatives come from autograd. How g depends on
w is the business of the loss; which arrays are kept is that of the adjoint.

Code that is written out for a rule, for speed, is registered for its very class (:func:`written_for`), so that
no class derived from it can inherit it together with another update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from inspect import Signature, signature
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..bridge import isbox
from ..errors import ArgumentError
from ..ranges import Range

_FLAGS = (bool, int, str, "bool", "int", "str")


class Setting(NamedTuple):
    """A hyperparameter as it was given: a scalar, a schedule, values per weight, or a nest of those.

    Attributes:
      value: what was given.
      place: how the user wrote it, ``SGD.lr``; it begins every error.
      allowed: the interval that it must lie in.
    """

    value: Any
    place: str
    allowed: Range


class _OfInit:
    """The signature of a class: that of its ``__init__``, and not of ``__new__``, which takes anything."""

    def __get__(self, instance, owner: type) -> Signature:
        found = signature(owner.__init__)  # type: ignore[misc]
        return found.replace(parameters=list(found.parameters.values())[1:])


class Optimizer:
    """Base of every optimizer: a frozen dataclass whose fields are its hyperparameters.

    A new one has two pure functions written with autograd.numpy; the rest follows from them.

        @dataclass(frozen=True)
        class Descent(Optimizer):
            lr: Any

            def init(self, w):
                return ()

            def step(self, w, s, g, h, step):
                return w - h.lr * g, ()

    Each hyperparameter is given as a scalar, an array ``(steps,)``, or a nest of those that is a prefix
    of the parameters; ``h`` holds its value for this array at this step. A field that is annotated ``bool``,
    ``int`` or ``str``, or whose default is a bool, a text, None or a function, is a flag: not differentiated, and read
    as ``self.field``. The state of an array is any nest of arrays and numbers; integers in it are counters,
    which have no derivative.

    Attributes:
      ranges: the interval each hyperparameter must lie in, by name; any finite number if not there.
    """

    ranges: ClassVar[dict[str, Range]] = {}
    exact: Any = False

    if not TYPE_CHECKING:  # type checkers and editors see __init__ alone, as inspect does by this signature
        __signature__ = _OfInit()

        def __new__(cls, *args, **kwargs):
            names = [field.name for field in fields(cls)] if hasattr(cls, "__dataclass_fields__") else []
            twice = [name for name in names[: len(args)] if name in kwargs]
            if twice or len(args) > len(names) > 0:
                raise ArgumentError(
                    f"{cls.__name__} takes only its hyperparameters, {', '.join(names)}, got {len(args)} values "
                    f"without a name{f' and {twice[0]} once more by name' if twice else ''}; the parameters go to "
                    f"train: hypergrad.train(loss, params, {cls.__name__}({names[0]}=…), steps=…)"
                )
            return super().__new__(cls)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hyperparameters, in order."""
        return tuple(field.name for field in fields(self) if not _is_flag(field))  # type: ignore[arg-type]

    @property
    def settings(self) -> list[Setting]:
        """The hyperparameters as they were given, in the order of ``names``."""
        kind = type(self).__name__
        return [Setting(getattr(self, name), f"{kind}.{name}", self.ranges.get(name, Range())) for name in self.names]

    @property
    def rule(self) -> Optimizer:
        """The update rule, without what wrappers do to the gradients."""
        return self

    def init(self, w) -> Any:
        """The state before the first step, for an array of the shape of ``w``: a nest of arrays and numbers."""
        raise NotImplementedError(f"{type(self).__name__} needs init(w) -> state")

    def step(self, w, s, g, h, step: int) -> tuple:
        """(w, s) after the update."""
        raise NotImplementedError(f"{type(self).__name__} needs step(w, s, g, h, step) -> (w, s)")


class WholeNest(Optimizer):
    """Base of an optimizer whose step sees the whole nest: for norms over all arrays, say.

    ``init(params)`` returns one state, any nest, and ``step(params, state, gradient, h, step)`` nests like the
    parameters and the state. ``h.name`` is a number where one value or schedule was given for all arrays, and
    otherwise a nest like ``params`` with the value for each.
    """


def _is_flag(field: Field) -> bool:
    default = field.default
    return field.type in _FLAGS or default is None or isinstance(default, bool | str) or callable(default)


class Decaying(Optimizer):
    """An optimizer whose state decays: s ← d s + increment(g), w ← (1 − α λ) w + displacement(s, g).

    The weights decay if it has a hyperparameter ``weight_decay``, λ, beside ``lr``, α.

    Attributes:
      decays: for each state array, the name of the hyperparameter d that multiplies it.
      fraction_bits: for each state array, the bits after the point of its fixed-point numbers in exact
        arithmetic.
    """

    decays: ClassVar[tuple[str, ...]]
    fraction_bits: ClassVar[tuple[int, ...]]

    @property
    def reversible(self) -> bool:
        """Whether the displacement depends on the state after the update alone, and not on g: then it can be undone."""
        return False

    def init(self, w) -> tuple:
        return tuple(0.0 * w for _ in self.decays)

    def increments(self, g, h) -> tuple:
        """What the gradient adds to each state array."""
        raise NotImplementedError

    def displacement(self, s, g, h, step: int):
        """What is added to w, from the state after the update."""
        raise NotImplementedError

    def state_after(self, w, s, g, h, step: int) -> tuple:
        """The state alone after the update."""
        increments = self.increments(g, h)
        return tuple(getattr(h, name) * a + increment for name, a, increment in zip(self.decays, s, increments))

    def step(self, w, s, g, h, step: int) -> tuple:
        s = self.state_after(w, s, g, h, step)
        keep = kept_share(h)
        return (w if keep is None else keep * w) + self.displacement(s, g, h, step), s


def kept_share(h) -> Any:
    """1 − α λ, the share of the weights that a step keeps; None without a decay of the weights, plain and 0."""
    decay = getattr(h, "weight_decay", None)
    if decay is None or (not isbox(decay) and not np.any(decay)):
        return None
    return 1.0 - h.lr * decay


def step_into(optimizer: Decaying, to_w, to_s, w, s, g, h, step: int) -> None:
    """:meth:`Decaying.step`, written into arrays, which may be those it reads; to the same bits."""
    for to, name, a, increment in zip(to_s, optimizer.decays, s, optimizer.increments(g, h)):
        np.multiply(getattr(h, name), a, out=to)
        to += increment
    keep = kept_share(h)
    if keep is not None:
        w = np.multiply(keep, w, out=to_w)
    np.add(w, optimizer.displacement(to_s, g, h, step), out=to_w)


class Written(NamedTuple):
    """Code written out for one update rule, whose every entry is updated apart from the others.

    Attributes:
      step_into: like :func:`step_into`; it may return the sum of the squares of what it writes to ``to_w``, or None.
      push_forward: None, or ``(dw, ds, dg, dh, w, s, g, s_after, h)``, which turns the tangents of w and s before into
        those after, in place, and writes over ``dg``. Tangents are rows, (directions, entries), of w, (entries,); each
        of ``dh`` is a column (directions, 1), or 0.0 where it is 0 for all directions.
      pull_back: None, or ``(w_bar, s_bar, g_bar, w, s, s_after, h, wanted)``, which turns the cotangents of w and s
        after into those before, in place, writes that of g, and returns those of h. It needs no gradient, and w only
        where the weights decay.
      in_one_pass: whether ``step_into`` and ``pull_back`` go once over arrays like ``w``, with ``h``: then these need
        not be cut into pieces that fit the cache.
    """

    step_into: Callable
    push_forward: Callable | None = None
    pull_back: Callable | None = None
    in_one_pass: Callable = lambda w, h: False


_WRITTEN: dict[type, Callable[[Any], Written]] = {}


def written_for(kind: type, code: Callable[[Any], Written]) -> None:
    """Use this code, made for an optimizer, for those of just that class."""
    _WRITTEN[kind] = code


def written_code(optimizer: Optimizer) -> Written | None:
    """What is written out for the class of this optimizer."""
    code = _WRITTEN.get(type(optimizer))
    return None if code is None else code(optimizer)
