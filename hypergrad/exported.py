"""Schedules learned here as those of PyTorch and optax, or as plain functions of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .bridge import isbox
from .checks import check_integer, import_extra
from .errors import ArgumentError, NestError, ScheduleError
from .heavy_ball import to_heavy_ball
from .nests import LEAF, Structure, broadcast_prefix, check_leaves, flatten, leaf_places, unflatten


def export(lr: Any, momentum: Any = None, *, to: str) -> Any:
    """Schedules learned here, to train with elsewhere.

    The momentum of PyTorch and optax is another one, u ← μ u + g, w ← w − η u. The steps of
    ``hg.SGD(lr=α, momentum=β)`` are those with

        η_t = α_t (1 − β_t),    μ_t = β_t (1 − β_{t−1}) / (1 − β_t),

    so both are converted together: give the momentum that was trained with (0.9 is the default of ``hg.SGD``). Where
    β rises quickly, μ is above 1. Without ``momentum`` the rate is left as it is: for SGD without momentum, and for
    Adam, AdamW and RMSprop, whose rates mean the same everywhere.

    Args:
      lr: α, as it was trained with: a number, an array ``(steps,)``, or a nest of those that is a prefix of the
        parameters.
      momentum: β in [0, 1), in the same forms; or None.
      to: "torch", "optax" or "function".

    Returns:
      For "function" two functions of the step, ``lr(step)`` and ``momentum(step)``, which return η_t and μ_t: numbers,
      or nests of them; ``momentum`` is None without one.

      For "torch" a ``TorchSchedules``, for "optax" an ``OptaxSchedules``. Either library is imported only
      then.

      After the end of a schedule its last value is kept.

    Raises:
      ScheduleError, NestError: schedules of different lengths, nests of which neither is a prefix of the other, a
        momentum outside its range, or a rate for every weight, which has no counterpart there.
      ArgumentError: something that is being differentiated, or another ``to``.
      MissingExtraError: the library is not installed.

    >>> rate, momentum = export(np.array([1.0, 0.5]), np.array([0.5, 0.75]), to="function")
    >>> rate(0), momentum(1), rate(9)
    (0.5, 1.5, 0.125)
    """
    makers = {"function": Functions.of, "torch": TorchSchedules.of, "optax": OptaxSchedules.of}
    if to not in makers:
        raise ArgumentError(f"to must be one of {', '.join(map(repr, makers))}, got {to!r}")
    return makers[to](_tables(lr, momentum))


class Table:
    """A schedule as a function of the step; from its end on the last value. It can be pickled."""

    def __init__(self, values: Any):
        self.values = [float(value) for value in np.atleast_1d(values)]

    def __call__(self, step: int) -> float:
        return self.values[min(check_integer(step, "step", 0), len(self.values) - 1)]


class Tables(NamedTuple):
    """The tables of rate and momentum in the form of the other libraries, for each leaf of a nest."""

    structure: Structure
    lr: list[Table]
    momentum: list[Table] | None


class Functions(NamedTuple):
    """Rate η and momentum μ of u ← μ u + g, w ← w − η u as functions of the step; nests where nests were given."""

    lr: Callable
    momentum: Callable | None

    @classmethod
    def of(cls, tables: Tables) -> Functions:
        def together(columns: list[Table]) -> Callable:
            return lambda step: unflatten(tables.structure, [table(step) for table in columns])

        return cls(together(tables.lr), None if tables.momentum is None else together(tables.momentum))


class TorchSchedules(NamedTuple):
    """For PyTorch: parameter groups, and a scheduler that sets rate and momentum of each.

        exported = hg.schedules.export(lr, momentum, to="torch")
        optimizer = torch.optim.SGD(exported.groups(model.parameters()))
        scheduler = exported.scheduler(optimizer)  # scheduler.step() after each optimizer.step()

    Attributes:
      structure: of the nest that was given.
      lr, momentum: functions of the step, one for each group. Where the momentum is no schedule, those of the groups
        are right, and ``LambdaLR(optimizer, exported.lr)`` will do.
    """

    structure: Structure
    lr: list[Table]
    momentum: list[Table] | None

    @classmethod
    def of(cls, tables: Tables) -> TorchSchedules:
        import_extra("torch", 'export(to="torch")')
        momentum = tables.momentum
        if momentum is not None and any(any(table.values) for table in momentum):
            # At a momentum of exactly 0 PyTorch leaves the velocity as it was, instead of setting it to the gradient.
            tiny = float(np.finfo(float).tiny)
            momentum = [Table([value or tiny for value in table.values]) for table in momentum]
        return cls(tables.structure, tables.lr, momentum)

    def groups(self, params: Any) -> list[dict]:
        """Parameter groups with base rate 1, one for each leaf of the nest of schedules.

        Args:
          params: a nest of tensors of which that nest is a prefix, such as ``dict(model.named_parameters())`` for
            schedules by those names; any collection of tensors where one schedule was given for all.

        Raises:
          NestError: the nest is no prefix of ``params``.
        """
        if self.structure == LEAF:
            tensors = flatten(params)[0] if not hasattr(params, "__next__") else list(params)
            covered = [tensors]
        else:
            leaves, structure = flatten(params)
            numbers = unflatten(self.structure, range(len(self.lr)))
            given, cover, _ = broadcast_prefix(numbers, structure, name="the schedules", target="params")
            order = [given[index] for index in cover]
            covered = [[leaf for leaf, n in zip(leaves, order) if n == number] for number in range(len(self.lr))]
        groups = [{"params": tensors, "lr": 1.0} for tensors in covered]
        for group, table in zip(groups, self.momentum or []):
            group["momentum"] = table(0)
        return groups

    def scheduler(self, optimizer: Any) -> Any:
        """A ``LambdaLR`` whose ``step()``, after each of the optimizer, sets the momentum too.

        Raises:
          ArgumentError: the optimizer has other groups than :meth:`groups`, or no momentum to be set.
        """
        from torch.optim.lr_scheduler import LambdaLR

        groups, momentum = optimizer.param_groups, self.momentum or []
        if len(groups) != len(self.lr):
            raise ArgumentError(
                f"the optimizer has {len(groups)} parameter groups, and there are schedules for {len(self.lr)}: give "
                "it those of groups(params)"
            )
        if momentum and "momentum" not in groups[0]:
            raise ArgumentError(
                f"{type(optimizer).__name__} has no momentum to be set: export the rate without momentum=, or train "
                "with torch.optim.SGD"
            )

        class RateAndMomentum(LambdaLR):
            def step(self) -> None:  # type: ignore[override]
                super().step()
                for group, table in zip(self.optimizer.param_groups, momentum):
                    group["momentum"] = table(self.last_epoch)

        for group in groups:
            group["lr"] = 1.0
        return RateAndMomentum(optimizer, self.lr)


class OptaxSchedules(NamedTuple):
    """For optax: schedules, functions of the count that can be compiled, and the transformation that makes the steps.

    Attributes:
      lr, momentum: the schedules, or nests of them; ``momentum`` is None without one. ``optax.adam(exported.lr)`` takes
        a single one.
      structure: of the nest that was given.
    """

    lr: Any
    momentum: Any
    structure: Structure

    @classmethod
    def of(cls, tables: Tables) -> OptaxSchedules:
        import_extra("optax", 'export(to="optax")')
        lr, momentum = (
            None if columns is None else unflatten(tables.structure, [_traceable(table) for table in columns])
            for columns in (tables.lr, tables.momentum)
        )
        return cls(lr, momentum, tables.structure)

    def sgd(self) -> Any:
        """The ``GradientTransformation`` of u ← μ u + g, w ← w − η u with these schedules.

        ``optax.sgd`` takes a momentum that is one number only; this is ``optax.trace``, given its schedule by
        ``optax.inject_hyperparams``, before the scaling by the rate. Each leaf of the nest has its own.
        """
        import optax

        def one(lr, momentum):
            scaled = optax.scale_by_learning_rate(lr)
            if momentum is None:
                return scaled
            trace = optax.inject_hyperparams(optax.trace, static_args=("nesterov", "accumulator_dtype"))
            return optax.chain(trace(decay=momentum), scaled)

        rates = flatten(self.lr)[0]
        momenta = [None] * len(rates) if self.momentum is None else flatten(self.momentum)[0]
        if self.structure == LEAF:
            return one(rates[0], momenta[0])
        labels = [str(number) for number in range(len(rates))]
        return optax.multi_transform(
            {label: one(*pair) for label, *pair in zip(labels, rates, momenta)}, unflatten(self.structure, labels)
        )


def _traceable(table: Table) -> Callable:
    """A table as a function that JAX can compile, in the precision that it computes with."""

    def schedule(count):
        import jax.numpy as jnp

        values = jnp.asarray(table.values)
        return values[jnp.minimum(count, len(table.values) - 1)]

    return schedule


def _tables(lr, momentum) -> Tables:
    """What was given, leaf by leaf of one nest, converted."""
    rates, structure = flatten(lr)
    rates = _check(rates, structure, "lr")
    if momentum is None:
        _check_lengths(rates)
        return Tables(structure, [Table(rate) for rate in rates], None)
    momenta, other = flatten(momentum)
    momenta = _check(momenta, other, "momentum")
    rates, momenta, structure = _aligned(rates, structure, momenta, other)
    _check_lengths([*rates, *momenta])
    pairs = [to_heavy_ball(rate, value) for rate, value in zip(rates, momenta)]
    return Tables(structure, [Table(rate) for rate, _ in pairs], [Table(value) for _, value in pairs])


def _check(leaves: list, structure: Structure, name: str) -> list:
    places = leaf_places(structure, name)
    for leaf, place in zip(leaves, places):
        if isbox(leaf):
            raise ArgumentError(f"{place} is being differentiated: export what was found, after the descent")
        if type(leaf).__name__ == "PerWeight":  # of a floor above
            raise ScheduleError(f"{place} is a PerWeight: a rate for each weight has no counterpart elsewhere")
    leaves = check_leaves(leaves, places, allow_int=True)
    for leaf, place in zip(leaves, places):
        if np.ndim(leaf) > 1 or np.size(leaf) == 0:
            raise ScheduleError(f"{place} must be a number or an array (steps,), got shape {np.shape(leaf)}")
    return leaves


def _aligned(rates: list, structure: Structure, momenta: list, other: Structure) -> tuple[list, list, Structure]:
    """Rates and momenta leaf by leaf of the deeper of the two nests, of which the other is a prefix."""
    try:
        given, cover, _ = broadcast_prefix(unflatten(structure, rates), other, name="lr", target="momentum")
        return [given[index] for index in cover], momenta, other
    except NestError:
        pass
    given, cover, _ = broadcast_prefix(unflatten(other, momenta), structure, name="momentum", target="lr")
    return rates, [given[index] for index in cover], structure


def _check_lengths(leaves: list) -> None:
    lengths = sorted({len(leaf) for leaf in leaves if np.ndim(leaf)})
    if len(lengths) > 1:
        raise ScheduleError(f"lr and momentum must be schedules of one length, got {', '.join(map(str, lengths))}")
