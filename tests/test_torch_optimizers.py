"""Optimizers and schedules against those of PyTorch, in float64: the same weights over 50 steps."""

import autograd.numpy as anp
import numpy as np
import pytest
from pages import namespace_of

import hypergrad as hg
from hypergrad import errors

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")

STEPS = 50
RNG = np.random.default_rng(0)
A, Y = RNG.standard_normal((12, 5)), RNG.standard_normal(12)
START = RNG.standard_normal(5)
COSINE = lambda lr: hg.schedules.cosine(lr, STEPS, warmup=10, final=0.01 * lr)


def loss(w, hyper, step):
    return anp.mean((anp.tanh(anp.dot(A, w)) - Y) ** 2) + 0.1 * anp.sum(anp.cos(w + 0.1 * step))


def theirs(w, step):
    prediction = torch.tanh(torch.tensor(A) @ w)
    return torch.mean((prediction - torch.tensor(Y)) ** 2) + 0.1 * torch.sum(torch.cos(w + 0.1 * step))


def trained_there(make, at_each_step=lambda optimizer, step: None, between=None):
    w = torch.nn.Parameter(torch.tensor(START))
    optimizer = make([w])
    for step in range(STEPS):
        at_each_step(optimizer, step)
        optimizer.zero_grad()
        theirs(w, step).backward()
        if between is not None:
            between([w])
        optimizer.step()
    return w.detach().numpy()


def trained_here(optimizer):
    return hg.train(loss, START, optimizer, steps=STEPS)


def close(ours, expected):
    assert np.linalg.norm(expected - START) > 0.05, "it has moved"
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


SAME = {
    "SGD": ("SGD", {"lr": 0.05}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "Nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "RMSprop": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-6}),
    "Adam": ("Adam", {"lr": 0.02}),
    "Adam with betas": ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4}),
    "AdamW": ("AdamW", {"lr": 0.02, "weight_decay": 0.3}),
    "AdamW by default": ("AdamW", {}),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_steps(case):
    name, settings = SAME[case]
    expected = trained_there(lambda ws: getattr(torch.optim, name)(ws, **settings))
    if case == "AdamW by default":
        assert np.linalg.norm(expected - START) > 0.01
        np.testing.assert_allclose(trained_here(hg.optimizers.from_torch(name)), expected, rtol=1e-12)
        return
    close(trained_here(hg.optimizers.from_torch(name, **settings)), expected)


def test_a_schedule_of_rate_and_momentum():
    """lr_t = α_t (1 − β_t) and μ_t = β_t (1 − β_{t−1}) / (1 − β_t), set anew at every step."""
    lr, momentum = COSINE(0.1), np.linspace(0.5, 0.95, STEPS)

    def at_each_step(optimizer, step):
        optimizer.param_groups[0].update(lr=lr[step], momentum=momentum[step])

    expected = trained_there(lambda ws: torch.optim.SGD(ws, lr=1.0, momentum=0.5), at_each_step)
    ours = hg.optimizers.from_torch("SGD", lr=lr, momentum=momentum)
    close(trained_here(ours), expected)
    back = hg.optimizers.to_heavy_ball(ours.lr, ours.momentum)
    np.testing.assert_allclose(back[0], lr, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(back[1][1:], momentum[1:], rtol=1e-12)


def test_coupled_decay_is_a_penalty_of_the_loss():
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.2}
    expected = trained_there(lambda ws: torch.optim.SGD(ws, **settings))
    penalised = lambda w, decay, step: loss(w, None, step) + 0.5 * decay * anp.sum(w**2)
    ours = hg.train(penalised, START, hg.optimizers.from_torch("SGD", lr=0.05, momentum=0.9), 0.2, steps=STEPS)
    close(ours, expected)
    with pytest.raises(errors.ArgumentError, match=r"SGD\(weight_decay=0\.2\) has no counterpart here.*coupled"):
        hg.optimizers.from_torch("SGD", **settings)


SCHEDULES = {
    "cosine": (
        lambda: hg.schedules.cosine(0.1, STEPS, final=0.02),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.02),
    ),
    "exponential": (
        lambda: hg.schedules.exponential(0.1, 0.95, STEPS),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.95),
    ),
    "staircase": (
        lambda: hg.schedules.exponential(0.1, 0.5, STEPS, every=7, staircase=True),
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=7, gamma=0.5),
    ),
    "linear": (
        lambda: hg.schedules.linear(0.1, 0.02, STEPS, over=30),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=30),
    ),
    "one cycle": (
        lambda: hg.schedules.one_cycle(0.1, STEPS),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=STEPS, cycle_momentum=False),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    ours, make = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = make(optimizer), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(ours(), rates, rtol=1e-12, atol=1e-16)


def test_optimizers_of_ones_own_on_the_page():
    page = namespace_of("docs/optimizers.md")
    for own, settings in ((page["AdamW"], {"lr": 0.02, "weight_decay": 0.3}), (page["AMSGrad"], {"lr": 0.02})):
        options = {"amsgrad": True, "weight_decay": 0.0} if own is page["AMSGrad"] else {}
        expected = trained_there(lambda ws, o=options, s=settings: torch.optim.AdamW(ws, **s, **o))
        close(trained_here(own(**settings)), expected)
        hg.testing.check_hypergradient(lambda lr, own=own: loss(trained_here(own(lr)), None, 0), 0.02)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Adagrad", {}, r"torch\.optim name must be one of SGD, RMSprop, Adam, AdamW, got 'Adagrad'"),
        ("SGD", {"dampening": 0.5}, r"SGD\(dampening=0\.5\) has no counterpart"),
        ("SGD", {"rate": 0.5}, r"torch\.optim SGD: got an unexpected keyword argument 'rate'"),
        ("SGD", {"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1\.0"),
        ("SGD", {"momentum": np.full(3, 0.5), "nesterov": True}, "Nesterov's momentum with a schedule"),
        ("SGD", {"lr": np.ones(3), "momentum": np.full(4, 0.5)}, "schedules of one length"),
        ("RMSprop", {"centered": True}, r"RMSprop\(centered=True\) has no counterpart"),
        ("Adam", {"amsgrad": True}, r"Adam\(amsgrad=True\) has no counterpart here"),
        ("Adam", {"weight_decay": 0.1}, "coupled.*as in AdamW"),
    ],
)
def test_what_has_no_counterpart(name, settings, message):
    with pytest.raises(errors.HypergradError, match=message):
        hg.optimizers.from_torch(name, **settings)


def test_converted_optimizers_are_differentiable_in_what_they_are_given():
    def f(h):
        optimizer = hg.optimizers.from_torch("SGD", lr=anp.exp(h["log_lr"]), momentum=h["momentum"])
        return loss(hg.train(loss, START, optimizer, steps=6), None, 0)

    hg.testing.check_hypergradient(f, {"log_lr": np.full(6, -3.0), "momentum": np.linspace(0.5, 0.8, 6)})
    hg.testing.check_hypergradient(
        lambda peak: loss(hg.train(loss, START, hg.SGD(hg.schedules.one_cycle(peak, 8)), steps=8), None, 0), 0.1
    )
