"""How PyTorch runs a loss here: its random numbers from the step alone, and plain operations in place of those that
cannot be differentiated twice.

Both come from modes of the calling thread: neither the global generator nor a switch of the process is touched.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import LossError

_DRAWS = 6  # the purpose of these random numbers, in seeds (seed, purpose, step)
_UNSEEDED = {"rand_like": "uniform_", "randn_like": "normal_", "randint_like": "random_"}

# A module is given its parameters by putting them into it for the time of a call, and PyTorch notes in one place for
# all threads that a mode is on: so forward passes, and whoever reads what a module holds, take turns. Backward passes,
# the larger part, need not.
TURN = threading.RLock()


@contextlib.contextmanager
def forwards(seeds: list[int], hooks: bool = False) -> Iterator[Any]:
    """Within it functions of tensors run as here; what it gives has drawn random numbers if it ``has_drawn``.

    Args:
      seeds: (seed, step), from which every random number is derived.
      hooks: whether saved tensors may be seen by hooks. Not by those of others: ``torch.utils.checkpoint`` runs a part
        again on the way back, when a module has its own parameters again and masks would be other ones.
    """

    plain, draws = _modes()
    with _forwards(hooks), plain(), draws(seeds) as drawn:
        yield drawn


@contextlib.contextmanager
def forwards_without_draws(hooks: bool = False) -> Iterator[None]:
    """The same for functions that draw no random numbers: in a third of the time that small operations wait there.

    Raises:
      Drew: when it ends, if the global generator moved; it is moved back.
    """
    import torch

    plain, _ = _modes()
    with _forwards(hooks), plain():
        before = torch.get_rng_state()
        yield
        if not torch.equal(before, torch.get_rng_state()):
            torch.set_rng_state(before)
            raise Drew


class Drew(Exception):
    """Random numbers came from the global generator."""


@contextlib.contextmanager
def _forwards(hooks: bool) -> Iterator[None]:
    import torch

    saving = contextlib.nullcontext() if hooks else torch.autograd.graph.disable_saved_tensors_hooks(NO_HOOKS)
    with TURN, recorded(), saving:
        yield


NO_HOOKS = (
    "hooks on saved tensors, as of torch.utils.checkpoint or save_on_cpu, would run parts of the loss again with other "
    "parameters: leave them out (adjoint=hypergrad.Checkpointed() saves memory over the steps)"
)


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Whatever the caller has switched off in this thread, operations are recorded."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        yield


@functools.cache
def _modes() -> tuple[type, type]:
    """The two modes, classes derived from PyTorch's."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    functions = torch.nn.functional

    class Plain(TorchFunctionMode):
        """Fused attention has no second derivative, weight normalisation a wrong one: here plain operations."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is functions.scaled_dot_product_attention:
                func = attention
            elif func is functions.multi_head_attention_forward:
                func = _with_weights
            elif func is torch._weight_norm:
                func = weight_norm
            return func(*args, **(kwargs or {}))

    class Draws(TorchDispatchMode):
        """Random numbers come from generators of its own."""

        def __init__(self, seeds: list[int]):
            super().__init__()
            self.seeds = seeds
            self.generators: dict = {}
            self.has_drawn = False

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if not _is_random(func) or _needs_none(func, args, kwargs):
                return func(*args, **kwargs)
            self.has_drawn = True
            return _drawn(func, args, kwargs, self.generator(_device_of(args, kwargs)))

        def generator(self, device):
            if device not in self.generators:
                seed, step = self.seeds
                drawn = np.random.default_rng([seed, _DRAWS, step]).integers(2**63)
                self.generators[device] = torch.Generator(device).manual_seed(int(drawn))
            return self.generators[device]

    return Plain, Draws


@functools.cache
def _is_random(func) -> bool:
    import torch

    return torch.Tag.nondeterministic_seeded in func.tags


def _needs_none(func, args: tuple, kwargs: dict) -> bool:
    """Whether an operation was given a generator, or has a dropout of 0."""
    arguments = func._schema.arguments
    given = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    given |= {argument.name: x for argument, x in zip(arguments, args)} | kwargs
    return given.get("generator") is not None or 0.0 in (given.get("dropout_p"), given.get("dropout"))


@functools.cache
def _takes_generator(func) -> bool:
    return any(argument.name == "generator" for argument in func._schema.arguments)


def _device_of(args: tuple, kwargs: dict):
    import torch

    tensors = (x for x in args if isinstance(x, torch.Tensor))
    device = next((x.device for x in tensors), None) or kwargs.get("device") or "cpu"
    return torch.device(device)


def _drawn(func, args: tuple, kwargs: dict, generator):
    """What a random operation returns with this generator."""
    import torch

    if _takes_generator(func):
        return func(*args, **{**kwargs, "generator": generator})
    name = func.overloadpacket.__name__
    if name == "native_dropout":
        x, p, train = args
        mask = torch.ones_like(x, dtype=torch.bool)
        if train is False or p == 0.0:
            return x.clone(), mask
        mask.bernoulli_(1.0 - p, generator=generator)
        return x * mask * (0.0 if p == 1.0 else 1.0 / (1.0 - p)), mask
    if name in _UNSEEDED:
        bounds = [x for x in args[1:] if isinstance(x, int)]
        return getattr(torch.empty_like(args[0], **kwargs), _UNSEEDED[name])(
            *_bounds(name, bounds), generator=generator
        )
    seeded = {"default": "generator", "low": "low_generator"}.get(func._overloadname)
    if seeded is not None and hasattr(func.overloadpacket, seeded):  # rand, randn, randint, randperm
        return getattr(func.overloadpacket, seeded)(*args, **{**kwargs, "generator": generator})
    raise LossError(
        f"the loss draws random numbers with {func}, which takes no generator, so that a step computed again would "
        "have others; draw them with torch.rand, torch.randn or torch.bernoulli, or by dropout outside of it"
    )


def _bounds(name: str, bounds: list[int]) -> list[int]:
    return [0, *bounds] if name == "randint_like" and len(bounds) == 1 else bounds


def _with_weights(*args, **kwargs):
    """Attention of several heads in the form that gives its weights too, and uses no fused kernel."""
    from torch.nn.functional import multi_head_attention_forward as forward

    call = _signature(forward).bind(*args, **kwargs)
    wanted = call.arguments.get("need_weights", True)
    call.arguments["need_weights"] = True
    output, weights = forward(*call.args, **call.kwargs)
    return output, weights if wanted else None


@functools.cache
def _signature(function) -> inspect.Signature:
    return inspect.signature(function)


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """softmax(Q Kᵀ · scale + mask) V, as :func:`torch.nn.functional.scaled_dot_product_attention`.

    A row whose keys are all masked gives zeros.
    """
    import torch

    if is_causal and attn_mask is not None:
        raise LossError("scaled_dot_product_attention takes attn_mask or is_causal=True, not both")
    if enable_gqa:
        key, value = (x.repeat_interleave(query.size(-3) // x.size(-3), -3) for x in (key, value))
    scores = (query * (query.size(-1) ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    empty = None
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        empty = (scores == -torch.inf).all(-1, keepdim=True)
        scores = scores.masked_fill(empty, 0.0)
    weights = torch.softmax(scores, -1)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
    return torch.dropout(weights, dropout_p, True) @ value


def weight_norm(v, g, dim=0):
    """g v / ‖v‖, with the norm over all axes but one, as ``torch._weight_norm``: of all of v if ``dim`` is -1.

    The gradient of PyTorch's own has a wrong derivative with respect to v (seen in 2.13, on the CPU).
    """
    import torch

    return v * (g / torch.norm_except_dim(v, 2, dim))
