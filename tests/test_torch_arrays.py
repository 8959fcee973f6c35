"""Tensors of PyTorch where NumPy's arrays are expected: converted if nothing is lost, else refused with a way out."""

import autograd.numpy as anp
import numpy as np
import pytest

import hypergrad as hg
from hypergrad import errors

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")

X = np.random.default_rng(0).standard_normal((6, 4))


def loss(w, h, t):
    return anp.sum((w - h) ** 2)


def run(w, h, lr, momentum=0.5):
    return hg.train(loss, w, hg.SGD(lr, momentum), h, steps=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tensors_are_converted(dtype):
    given = (
        torch.linspace(0.0, 1.0, 3, dtype=dtype),
        torch.tensor(0.5, dtype=dtype),
        torch.tensor([0.1, 0.2], dtype=dtype),
    )
    trained = run(*given, torch.tensor(0.25, dtype=dtype))
    numpys = [x.numpy() for x in given]
    assert type(trained) is np.ndarray and trained.dtype == numpys[0].dtype
    np.testing.assert_array_equal(trained, run(*numpys, 0.25))
    assert not np.array_equal(trained, numpys[0])
    np.testing.assert_array_equal(given[0], torch.linspace(0.0, 1.0, 3, dtype=dtype), "the tensor itself stays")


def test_they_are_hyperparameters_of_functions_too():
    f = lambda x: anp.sum(run(np.ones(3), x["h"], x["lr"]) ** 2)
    hg.testing.check_hypergradient(f, {"h": torch.tensor(0.3, dtype=torch.float64), "lr": np.full(2, 0.1)})
    bowl = hg.losses.WrittenLoss(
        lambda w, h, t: anp.sum(w**2),
        gradient=lambda w, h, t: 2 * w,
        gradient_with_hvp=lambda w, h, t: (2 * w, lambda d: 2 * d),
    )
    hg.testing.check_loss(bowl, torch.ones(3, dtype=torch.float64))
    schedule = torch.tensor([1.0, 2.0], dtype=torch.float64)
    np.testing.assert_array_equal(hg.schedules.binned(schedule, 4), [1.0, 1.0, 2.0, 2.0])
    np.testing.assert_array_equal(hg.schedules.bounded(schedule), [1.0, 2.0])


def test_data_of_a_minibatch_loss():
    model = hg.nn.MLP([4, 3, 2])
    params = hg.init.scaled_normal(model.shapes, torch.tensor(0.5, dtype=torch.float64), seed=0)
    T = np.eye(2)[np.arange(6) % 2]
    train = lambda *data: hg.train(hg.nn.MinibatchLoss(model, *data), params, hg.SGD(0.1), steps=2)
    np.testing.assert_array_equal(train(torch.tensor(X), torch.tensor(T))[0][0], train(X, T)[0][0])
    with pytest.raises(errors.NestError, match="X is a tensor that requires gradients"):
        train(torch.tensor(X, requires_grad=True), T)


CASES = {
    "gradients": (torch.ones(3, requires_grad=True), r"requires gradients.*tensor\.detach\(\)\.numpy\(\).*from_torch"),
    "a parameter": (torch.nn.Parameter(torch.ones(3)), "requires gradients"),
    "half precision": (torch.ones(3, dtype=torch.bfloat16), r"a tensor of torch\.bfloat16: give tensor\.double\(\)"),
    "sparse": (torch.ones(3).to_sparse(), r"sparse_coo\): give tensor\.to_dense\(\)\.cpu\(\)\.numpy\(\)"),
    "another device": (torch.ones(3, device="meta"), "a tensor on meta .*from_torch"),
    "integers": (torch.ones(3, dtype=torch.int64), r"has dtype int64; convert it with \.astype\(float\)"),
    "a module": (torch.nn.Linear(3, 1), r"Linear; a module comes to train as hypergrad\.losses\.from_torch\(module"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_converted_is_refused_with_its_place(case):
    value, message = CASES[case]
    ways = {r"params\['w'\]": lambda: hg.train(loss, {"w": value}, hg.SGD(0.1), steps=1)}
    ways[r"hyper\[0\]"] = lambda: hg.train(loss, np.ones(3), hg.SGD(0.1), [value], steps=1)
    if case != "integers":
        ways[r"SGD\.lr"] = lambda: hg.train(loss, np.ones(3), hg.SGD(value), steps=3)
    for place, way in ways.items():
        with pytest.raises(errors.NestError, match=f"{place} (is|has).*{message.removeprefix('has')}"):
            way()


@pytest.mark.parametrize("of_torch", [lambda w, h, t: torch.sum(w**2), lambda w, h, t: (torch.tensor(X) @ w).sum()])
def test_a_loss_in_torch_that_comes_as_it_is(of_torch):
    with pytest.raises(errors.LossError, match=r"written with autograd\.numpy.*from_torch"):
        hg.train(of_torch, np.ones(4), hg.SGD(0.1), steps=2)
