"""What the user reads when a loss from PyTorch is not one: the cause, the line and the way out."""

import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import flatten

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")
nn, functions = torch.nn, torch.nn.functional

BATCH = [(np.ones((4, 3)), np.zeros(4, int))]
LINEAR = nn.Linear(3, 2).double()


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent):
        return 2 * ctx.saved_tensors[0] * cotangent


def in_place(w, h, t):
    w.mul_(2.0)
    return w.sum()


def saved_in_place(w, h, t):
    y = torch.exp(w)
    z = y.sum()
    y.mul_(2.0)
    return z


def hyper_in_place(w, h, t):
    return (w * h.add_(1.0)).sum()


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant):
        super().__init__()
        self.first, self.linear, self.use_reentrant = nn.Linear(3, 3), nn.Linear(3, 2), use_reentrant

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.linear, self.first(x), use_reentrant=self.use_reentrant)


FUNCTIONS = {
    "shape": (lambda w, h, t: w**2, r"has shape \(3,\) at step 0; it must be a scalar"),
    "independent": (lambda w, h, t: torch.ones(()), "does not depend on params at step 0"),
    "detached": (lambda w, h, t: (w.detach() ** 2).sum(), "does not depend on params at step 0"),
    "number": (lambda w, h, t: (w**2).sum().item(), r"returned a builtins\.float at step 0"),
    "complex": (lambda w, h, t: torch.complex(w, w).sum(), "complex at step 0; take its real part"),
    "lower precision": (
        lambda w, h, t: (w.float() ** 2).sum(),
        r"computed in torch\.float32 at step 0, but the run is in",
    ),
    "mixed": (
        lambda w, h, t: (torch.ones(2, 3) @ w).sum(),
        r"test_torch_words\.py:\d+: `.*`: float32 and float64 meet",
    ),
    "autograd.numpy": (
        lambda w, h, t: anp.sum(w**2),
        r"test_torch_words\.py:\d+: .*must be written with torch, not with",
    ),
    "NumPy": (
        lambda w, h, t: np.tanh(w).sum(),
        r"test_torch_words\.py:\d+: .*must be written with torch, not with NumPy",
    ),
    "in place": (in_place, r"test_torch_words\.py:\d+: `w\.mul_\(2\.0\)`: .*cannot be changed in place"),
    "hyper in place": (hyper_in_place, "hyper was changed in place at step 0"),
    "saved in place": (saved_in_place, "a tensor that the derivative needs was changed in place"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_no_losses(name):
    function, message = FUNCTIONS[name]
    loss = hg.losses.from_torch_function(function)
    f = lambda lr: anp.sum(hg.train(loss, np.ones(3), hg.SGD(lr), np.ones(3), steps=2) ** 2)
    for attempt in (f, grad(f), lambda lr: make_jvp(f)(lr)(1.0)):
        with pytest.raises(errors.LossError, match=message) as caught:
            attempt(0.1)
        assert "\n" not in str(caught.value)


ONCE = {
    "once differentiable": (lambda w, h, t: Once.apply(w * h).sum(), "marked once_differentiable: it has no second"),
    "embedding bag": (
        lambda w, h, t: functions.embedding_bag(torch.tensor([[0, 1]]), w[:, None] * w).square().sum(),
        "_embedding_bag_backward: it has no second derivative",
    ),
    "fused attention": (
        lambda w, h, t: (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*[w[:, None].expand(1, 1, 3, 8)] * 3)[0]
            .square()
            .sum()
        ),
        "flash_attention_for_cpu_backward: it has no second derivative",
    ),
}


@pytest.mark.parametrize("name", ONCE)
def test_what_cannot_be_differentiated_twice_is_named_before_training(name):
    """PyTorch takes the first of them for a constant without a word."""
    function, message = ONCE[name]
    steps = []

    def noting(w, h, t):
        steps.append(t)
        return function(w, h, t)

    loss = hg.losses.from_torch_function(noting)
    f = lambda lr: anp.sum(hg.train(loss, np.ones(3), hg.SGD(lr), np.array(1.0), steps=3) ** 2)
    for attempt in (grad(f), lambda lr: make_jvp(f)(lr)(1.0)):
        with pytest.raises(errors.LossError, match=message):
            attempt(0.1)
    assert set(steps) == {0}


def test_what_is_marked_at_a_later_step_only_is_noticed_there():
    loss = hg.losses.from_torch_function(lambda w, h, t: (w**2).sum() + (Once.apply(w).sum() if t == 2 else 0.0))
    f = lambda lr, steps: anp.sum(hg.train(loss, np.ones(3), hg.SGD(lr), steps=steps) ** 2)
    assert np.isfinite(grad(f)(0.1, 2))
    with pytest.raises(errors.LossError, match="marked once_differentiable"):
        grad(f)(0.1, 4)


CAPTURING = {
    "factor": lambda x: hg.losses.from_torch_function(lambda w, h, t: (w**2).sum() * x),
    "tensor": lambda x: hg.losses.from_torch_function(lambda w, h, t: (w**2).sum() * torch.as_tensor(x)),
    "batch": lambda x: hg.losses.from_torch(LINEAR, functions.mse_loss, [(x * np.ones((4, 3)), np.zeros((4, 2)))]),
    "criterion": lambda x: hg.losses.from_torch(LINEAR, lambda z, y: functions.cross_entropy(z * x, y), BATCH),
}


@pytest.mark.parametrize("name", CAPTURING)
def test_a_value_that_is_differentiated_must_come_in_as_hyper(name):
    def f(x):
        loss = CAPTURING[name](x)
        start = loss.params() if name in ("batch", "criterion") else np.ones(3)
        return anp.sum(flatten(hg.train(loss, start, hg.SGD(0.1), steps=2))[0][0])

    for differentiate in (grad, lambda f: lambda x: make_jvp(f)(x)(1.0)):
        with pytest.raises(errors.DifferentiationError, match=r"closes over it.*hyper=value"):
            differentiate(f)(2.0)


def test_errors_of_the_users_own_are_left_alone():
    def loss(w, h, t):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        hg.train(hg.losses.from_torch_function(loss), np.ones(3), hg.SGD(0.1), steps=1)
    product = hg.losses.from_torch_function(lambda w, h, t: (torch.ones(4, 5, dtype=w.dtype) @ w).sum())
    with pytest.raises(RuntimeError, match="size mismatch"):
        hg.train(product, np.ones(3), hg.SGD(0.1), steps=1)


def test_random_numbers_that_go_on_are_noticed():
    rng = np.random.default_rng(0)
    loss = hg.losses.from_torch_function(lambda w, h, t: (w**2 * rng.random()).sum())
    f = lambda lr: anp.sum(hg.train(loss, np.ones(3), hg.SGD(lr), steps=5))
    with pytest.raises(errors.ImpureLossError):
        grad(f)(0.1)


def test_what_would_run_again_with_other_parameters_is_refused():
    for use_reentrant in (False, True):
        loss = hg.losses.from_torch(Checkpointed(use_reentrant).double(), functions.cross_entropy, BATCH)
        with pytest.raises(errors.LossError, match=r"hooks on saved tensors, as of torch\.utils\.checkpoint"):
            hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    loss = hg.losses.from_torch(LINEAR, functions.cross_entropy, BATCH)
    with torch.autograd.graph.save_on_cpu(), pytest.raises(errors.LossError, match="hooks on saved tensors"):
        hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    with torch.autograd.graph.save_on_cpu():
        pass  # they are allowed again


def test_params_that_are_not_the_modules():
    loss = hg.losses.from_torch(LINEAR, functions.cross_entropy, BATCH)
    start = loss.params()
    for params, message in (
        ({"weight": start["weight"]}, r"\['bias', 'weight'\], got \['weight'\]; loss\.params\(\) makes it"),
        ([*start.values()], "must be a dict with the names .* got list"),
        ({**start, "bias": np.zeros(3)}, r"params\['bias'\] has shape \(3,\), the module has \(2,\)"),
    ):
        with pytest.raises(errors.NestError, match=message):
            hg.train(loss, params, hg.SGD(0.1), steps=1)
    with pytest.raises(errors.NestError, match="is the integer 1"):
        hg.train(loss, {**start, "bias": 1}, hg.SGD(0.1), steps=1)


def frozen():
    return nn.Linear(3, 2).requires_grad_(False)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: hg.losses.from_torch(functions.relu, None, BATCH), r"needs a torch\.nn\.Module, got <function"),
        (lambda: hg.losses.from_torch(frozen(), functions.mse_loss, BATCH), "no parameters with requires_grad=True"),
        (lambda: hg.losses.from_torch(nn.Linear(3, 2).half(), functions.mse_loss, BATCH), "'weight' is torch.float16"),
        (lambda: hg.losses.from_torch(nn.LazyLinear(2), functions.mse_loss, BATCH), "'weight' has no shape yet"),
        (lambda: hg.losses.from_torch(LINEAR, functions.mse_loss, []), "batches is empty"),
        (lambda: hg.losses.from_torch(LINEAR, 3, BATCH), "needs a function, got 3"),
        (
            lambda: hg.losses.from_torch(LINEAR, functions.mse_loss, torch.utils.data.DataLoader([1])),
            r"got DataLoader: a loader goes on .* give list\(loader\)",
        ),
        (lambda: hg.losses.from_torch_function(3), "needs a function, got 3"),
        (lambda: hg.losses.from_torch_function(len, seed=-1), "seed must be an integer ≥ 0, got -1"),
        (lambda: hg.losses.from_torch_function(len, dtype=np.float16), "dtype must be float64 or float32"),
        (lambda: hg.losses.torch_function(len, dtype=torch.bfloat16), "dtype must be float64 or float32"),
    ],
)
def test_bad_arguments(attempt, message):
    with pytest.raises(errors.ArgumentError, match=message):
        attempt()


def test_bad_batches_and_results():
    loss = hg.losses.from_torch(LINEAR, functions.mse_loss, lambda step: np.ones((4, 3)))
    with pytest.raises(errors.LossError, match=r"the batch of step 0 must be a pair \(input, target\), got ndarray"):
        hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    loss = hg.losses.from_torch(module, functions.cross_entropy, BATCH)
    with pytest.raises(errors.LossError, match=r"changes its input.* in place at step 0.*inplace=False"):
        hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    loss = hg.losses.from_torch(
        nn.Embedding(5, 2, sparse=True), functions.mse_loss, [(torch.arange(5), np.ones((5, 2)))]
    )
    with pytest.raises(errors.LossError, match="sparse gradient"):
        hg.train(loss, loss.params(), hg.SGD(0.1), steps=1)
    with pytest.raises(errors.LossError, match="must return one tensor of floats, got a tuple"):
        hg.losses.torch_function(lambda x: (x, x))(1.0)
    loss = hg.losses.from_torch(LINEAR, functions.cross_entropy, BATCH)
    with pytest.raises(errors.ArgumentError, match="call it outside"):
        grad(lambda w: len(list(loss.to_module({**loss.params(), "bias": w}).parameters())) * w[0])(np.ones(2))


MISSING = """
import sys
sys.modules["torch"] = None
import hypergrad as hg
for make in (hg.losses.from_torch, hg.losses.from_torch_function, hg.losses.torch_function):
    try:
        make(*[1, 2, 3] if make is hg.losses.from_torch else [len])
    except hg.errors.MissingExtraError as error:
        print(error)
"""


def test_without_pytorch_one_sentence_says_how_to_get_it():
    run = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 3 and all("needs torch, which is not installed: pip install -e '.[torch]'" in x for x in lines)
