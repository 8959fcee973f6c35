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


START_NEST = {"w": START, "b": np.array(0.3)}
RATE = hg.schedules.cosine(0.5, STEPS, warmup=10, final=0.01)
BETA = np.linspace(0.5, 0.95, STEPS)
FROM_ZERO = np.where(np.arange(STEPS) % 5 == 0, 0.0, 0.8)  # where PyTorch would leave the velocity as it was
EXPORTED = {
    "a rate": (RATE, None),
    "a rate and a constant momentum": (RATE, 0.9),
    "a constant rate and a momentum": (0.3, BETA),
    "both": (RATE, BETA),
    "a momentum of 0 at times": (RATE, FROM_ZERO),
    "no momentum": (RATE, 0.0),
    "rates by array": ({"w": RATE, "b": 0.1}, 0.9),
    "momenta by array": (RATE, {"w": BETA, "b": FROM_ZERO}),
    "both by array": ({"w": RATE, "b": 0.2}, {"b": BETA, "w": 0.5}),
}


def nest_loss(np):
    def loss(params, hyper, step):
        prediction = np.tanh(A_OF[np] @ params["w"] + params["b"])
        return np.mean((prediction - Y_OF[np]) ** 2) + 0.1 * np.sum(np.cos(params["w"] + 0.1 * step))

    return loss


A_OF, Y_OF = {anp: A, torch: torch.tensor(A)}, {anp: Y, torch: torch.tensor(Y)}


def trained_with(exported, steps=STEPS, make=torch.optim.SGD, scheduled=None):
    """The parameters after training by an exported schedule, and the groups before each step."""
    params = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in START_NEST.items()}
    optimizer = make(exported.groups(params))
    scheduler, seen = (scheduled or exported.scheduler)(optimizer), []
    for step in range(steps):
        seen.append([(group["lr"], group.get("momentum")) for group in optimizer.param_groups])
        optimizer.zero_grad()
        nest_loss(torch)(params, None, step).backward()
        optimizer.step()
        scheduler.step()
    return {name: value.detach().numpy() for name, value in params.items()}, seen


@pytest.mark.parametrize("case", EXPORTED)
def test_an_exported_schedule_makes_the_same_steps(case):
    lr, momentum = EXPORTED[case]
    trained, seen = trained_with(hg.schedules.export(lr, momentum, to="torch"))
    optimizer = hg.SGD(lr, 0.0 if momentum is None else momentum)
    expected = hg.train(nest_loss(anp), START_NEST, optimizer, steps=STEPS)
    assert len(seen[0]) == (2 if "by array" in case else 1)
    for name in START_NEST:
        assert np.linalg.norm(expected[name] - START_NEST[name]) > 0.01, "it has moved"
        np.testing.assert_allclose(trained[name], expected[name], rtol=1e-12, atol=1e-13)


def test_an_exported_rate_alone_is_set_by_torchs_own_scheduler():
    exported = hg.schedules.export({"w": RATE, "b": 0.1}, 0.9, to="torch")
    scheduled = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, exported.lr)
    for one, other in zip(trained_with(exported)[0].values(), trained_with(exported, scheduled=scheduled)[0].values()):
        np.testing.assert_array_equal(one, other)
    rates = hg.schedules.export(0.1 * RATE, to="torch")
    trained, _ = trained_with(rates, make=torch.optim.Adam)
    expected = hg.train(nest_loss(anp), START_NEST, hg.Adam(0.1 * RATE), steps=STEPS)
    np.testing.assert_allclose(trained["w"], expected["w"], rtol=1e-12)


def test_after_the_end_of_an_exported_schedule_its_last_values_are_kept():
    exported = hg.schedules.export(RATE, BETA, to="torch")
    _, seen = trained_with(exported, steps=STEPS + 3)
    assert seen[STEPS - 1] == seen[STEPS] == seen[-1] != seen[STEPS - 2]


def test_an_exported_scheduler_goes_on_from_its_state():
    exported = hg.schedules.export(RATE, BETA, to="torch")
    optimizers = [torch.optim.SGD(exported.groups([torch.nn.Parameter(torch.zeros(2))])) for _ in range(2)]
    first, second = (exported.scheduler(optimizer) for optimizer in optimizers)
    for _ in range(7):
        optimizers[0].step()
        first.step()
    second.load_state_dict(first.state_dict())
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    for optimizer, scheduler in zip(optimizers, (first, second)):
        optimizer.step()
        scheduler.step()
        group = optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(RATE[8] * (1.0 - BETA[8]), rel=1e-12)
        assert group["momentum"] == pytest.approx(BETA[8] * (1.0 - BETA[7]) / (1.0 - BETA[8]), rel=1e-12)


def test_groups_of_a_module_and_what_does_not_fit():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    names = [name for name, _ in module.named_parameters()]
    one = hg.schedules.export(RATE, 0.9, to="torch")
    assert [len(group["params"]) for group in one.groups(module.parameters())] == [4]
    several = hg.schedules.export({name: 0.1 * (1 + i) for i, name in enumerate(names)}, 0.9, to="torch")
    groups = several.groups(dict(module.named_parameters()))
    assert [group["params"] for group in groups] == [[value] for value in module.parameters()]
    assert [group["momentum"] for group in groups] == [0.9] * 4 and {group["lr"] for group in groups} == {1.0}
    with pytest.raises(errors.NestError, match=r"the schedules is a dict with keys .* but params has"):
        several.groups({"w": torch.zeros(1)})
    with pytest.raises(errors.ArgumentError, match="1 parameter groups, and there are schedules for 4"):
        several.scheduler(torch.optim.SGD(module.parameters(), lr=0.1))
    with pytest.raises(errors.ArgumentError, match="Adam has no momentum to be set"):
        one.scheduler(torch.optim.Adam(module.parameters()))


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
