"""PyTorch's modules as they are: batch normalisation, dropout, attention, tied and frozen parameters."""

import copy

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp, value_and_grad
from problems import norm, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.losses import _torch_modes
from hypergrad.nests import flatten

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")
nn, functions = torch.nn, torch.nn.functional

RNG = np.random.default_rng(0)
IMAGES = [(RNG.standard_normal((5, 1, 6, 6)), RNG.integers(0, 3, 5)) for _ in range(3)]
SEQUENCES = [(torch.as_tensor(RNG.standard_normal((2, 3, 4))), RNG.standard_normal((2, 3, 4))) for _ in range(2)]
STEPS = 5


def cnn(dropout=0.2, dtype=torch.float64):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(48, 3)
    return nn.Sequential(*layers).to(dtype)


def encoder(dropout, **options):
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(4, 2, 8, dropout, batch_first=True, **options).double()


def quiet(*given, **options):
    """A loss from a module that changes buffers, which is said elsewhere."""
    with pytest.warns(errors.BufferWarning):
        return hg.losses.from_torch(*given, **options)


def squares(params):
    return sum(anp.sum(anp.sin(w)) for w in params.values())


def trained_with(loss, adjoint=None, exact=False, steps=STEPS):
    return lambda x: squares(
        hg.train(loss, x["params"], hg.SGD(x["lr"], 0.5, exact=exact), steps=steps, adjoint=adjoint)
    )


def everything(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


LOSSES = {
    "cnn": lambda: quiet(cnn(), functions.cross_entropy, IMAGES),
    "encoder": lambda: hg.losses.from_torch(encoder(0.0), functions.mse_loss, SEQUENCES),
    "encoder with dropout": lambda: hg.losses.from_torch(encoder(0.1), functions.mse_loss, SEQUENCES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_mode_and_adjoint_agrees_and_nothing_is_touched(name):
    generator = torch.get_rng_state()
    loss = LOSSES[name]()
    torch.set_rng_state(generator)
    generator, state = torch.get_rng_state(), everything(loss.module)
    at = {"params": loss.params(), "lr": np.linspace(0.1, 0.2, STEPS)}
    f = trained_with(loss, hg.Stored())
    value, gradient = value_and_grad(f)(at)
    for adjoint in (hg.Checkpointed(1), hg.Checkpointed(3), None):
        other_value, other = value_and_grad(trained_with(loss, adjoint))(at)
        assert other_value == value
        assert relative_error(other, gradient) < 1e-14
    assert make_jvp(f)(at)(gradient)[1] == pytest.approx(norm(gradient) ** 2, rel=1e-9)
    by_autograd = grad(trained_with(lambda params, hyper, step: loss(params, hyper, step)))(at)
    assert relative_error(by_autograd, gradient) < 1e-9
    hg.testing.check_hypergradient(lambda log: f({**at, "lr": anp.exp(log)}), np.log(at["lr"]))
    assert torch.equal(torch.get_rng_state(), generator) and same(everything(loss.module), state)


@pytest.mark.parametrize("name", LOSSES)
def test_reversed_bit_for_bit(name):
    loss = LOSSES[name]()
    at = {"params": loss.params(), "lr": np.array(0.1)}
    of = lambda adjoint: value_and_grad(trained_with(loss, adjoint, exact=True, steps=40))(at)
    (value, gradient), (other_value, other) = of(hg.Stored()), of(hg.Reversible())
    assert value == other_value
    for a, b in zip(flatten(gradient)[0], flatten(other)[0]):
        np.testing.assert_array_equal(a, b)


def test_a_float32_module_reversed_with_a_state_in_float64():
    loss = quiet(cnn(dtype=torch.float32), functions.cross_entropy, IMAGES, dtype=np.float32)
    at = {"params": loss.params(np.float64), "lr": np.array(0.1)}
    found = grad(trained_with(loss, hg.Reversible(), exact=True, steps=30))(at)
    double = quiet(cnn(), functions.cross_entropy, IMAGES)
    assert relative_error(found, grad(trained_with(double, steps=30))(at)) < 1e-2
    assert loss.params()["0.weight"].dtype == np.float32


def test_dropout_is_a_function_of_seed_and_step():
    batch = [(np.ones((4, 6)), np.zeros(4, int))]
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2, bias=False)).double()
    losses = [hg.losses.from_torch(module, functions.cross_entropy, batch, seed=seed) for seed in (0, 0, 1)]
    params = {"1.weight": np.arange(12.0).reshape(2, 6)}
    values = [[float(loss(params, None, step)) for step in range(4)] for loss in losses]
    assert values[0] == values[1] != values[2] and len(set(values[0])) == 4
    assert len({float(losses[0](params, None, 2)) for _ in range(3)}) == 1


def test_masks_drop_what_they_should():
    generator = torch.get_rng_state()
    with _torch_modes.forwards([0, 3]):
        x = functions.dropout(torch.ones(4000), 0.25)
        fused, mask = torch.native_dropout(torch.ones(4000), 0.25, True)
        other = torch.rand(4000), torch.randn(4000), torch.rand_like(x), torch.randn_like(x)
        whole = torch.randint_like(x, 5), torch.randint_like(x, 2, 5), torch.randint(2, 5, (4000,)), torch.randperm(9)
        functions.gumbel_softmax(x), functions.rrelu(x, training=True), torch.bernoulli(x / 2), torch.normal(x, 1.0)
    assert torch.equal(torch.get_rng_state(), generator)
    for dropped in (x, fused):
        assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 4 / 3])
        assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(fused != 0, mask) and not torch.equal(x, fused)
    for uniform in (other[0], other[2]):
        assert float(uniform.mean()) == pytest.approx(0.5, abs=0.03) and 0 <= float(uniform.min()) < 0.01
    for normal in (other[1], other[3]):
        assert float(normal.std()) == pytest.approx(1.0, abs=0.05)
    assert [set(map(int, values.unique())) for values in whole[:3]] == [{0, 1, 2, 3, 4}, {2, 3, 4}, {2, 3, 4}]
    assert sorted(whole[3].tolist()) == list(range(9))


ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "boolean mask": {"attn_mask": torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) > 0.4},
    "a row without keys": {"attn_mask": torch.arange(7) >= 3 * torch.arange(5)[:, None]},
    "added mask": {"attn_mask": torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()},
    "scale": {"scale": 0.3},
    "grouped": {"enable_gqa": True},
}


@pytest.mark.parametrize("way", ATTENTION)
def test_attention_is_pytorchs(way):
    draw = torch.Generator().manual_seed(1)
    heads = 2 if way == "grouped" else 4
    q, k, v = (
        torch.randn(3, h, n, 6, generator=draw, dtype=torch.double).requires_grad_()
        for h, n in ((4, 5), (heads, 7), (heads, 7))
    )
    theirs = functions.scaled_dot_product_attention(q, k, v, **ATTENTION[way])
    with _torch_modes.forwards([0, 0]):
        ours = functions.scaled_dot_product_attention(q, k, v, **ATTENTION[way])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    cotangent = torch.randn(ours.shape, generator=draw, dtype=torch.double)
    for a, b in zip(*(torch.autograd.grad(y, (q, k, v), cotangent) for y in (ours, theirs))):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_dropout_in_a_module_of_ones_own(masked):
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.heads = nn.Linear(4, 12), nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)

        def forward(self, x):
            q, k, v = (t.unflatten(-1, (2, 2)).transpose(1, 2) for t in self.project(x).chunk(3, -1))
            mixed = functions.scaled_dot_product_attention(q, k, v, dropout_p=0.1, is_causal=masked)
            mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=x.dtype) if masked else None
            y = mixed.transpose(1, 2).flatten(2)
            return self.heads(y, y, y, need_weights=False, attn_mask=mask, is_causal=masked)[0]

    torch.manual_seed(0)
    loss = hg.losses.from_torch(Mixer().double(), functions.mse_loss, SEQUENCES)
    hg.testing.check_loss(loss, loss.params())
    f = lambda lr: squares(hg.train(loss, loss.params(), hg.SGD(lr, 0.5), steps=4))
    hg.testing.check_hypergradient(f, 0.3)


def test_the_fused_kernel_is_what_could_not_be_differentiated():
    """Else the mode would not be needed."""
    q = torch.randn(1, 2, 5, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        functions.scaled_dot_product_attention(q, q, q).square().sum(), q, create_graph=True
    )
    with pytest.raises(RuntimeError, match="is not implemented"):
        torch.autograd.grad(gradient.sum(), q)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_normalisation(dim):
    """PyTorch's own has a wrong second derivative; the values are the same."""
    torch.manual_seed(0)
    layers = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3), dim=dim), nn.Tanh(), nn.Linear(3, 4)
    module = nn.Sequential(*layers).double()
    loss = hg.losses.from_torch(module, functions.mse_loss, SEQUENCES)
    expected = functions.mse_loss(module(SEQUENCES[0][0]), torch.as_tensor(SEQUENCES[0][1]))
    assert loss(loss.params(), None, 0) == pytest.approx(expected.item(), rel=1e-13)
    hg.testing.check_loss(loss, loss.params(), steps=2)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recurrent_networks(kind, dtype):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = kind(4, 4, num_layers=2, dropout=0.1, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0]

    torch.manual_seed(0)
    loss = hg.losses.from_torch(Reader().to(dtype), functions.mse_loss, SEQUENCES)
    hg.testing.check_loss(loss, loss.params(), steps=1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.body, self.out = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight
        self.body.bias.requires_grad_(False)

    def forward(self, words):
        return self.out(torch.tanh(self.body(self.embed(words))))


def test_tied_parameters_once_and_frozen_ones_left_alone():
    torch.manual_seed(0)
    module, words = Tied().double(), torch.tensor([0, 3, 1, 4])
    loss = hg.losses.from_torch(module, functions.cross_entropy, [(words, words.flip(0))])
    start = loss.params()
    assert list(start) == ["embed.weight", "body.weight"]
    start["embed.weight"] += 1.0
    assert not np.allclose(start["embed.weight"], loss.params()["embed.weight"])
    frozen = module.body.bias.clone()

    def plainly(params, hyper, step):
        hidden = anp.tanh(anp.dot(params["embed.weight"][words.numpy()], params["body.weight"].T) + frozen.numpy())
        z = anp.dot(hidden, params["embed.weight"].T)
        picked = z[np.arange(4), words.numpy()[::-1]]
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - picked)

    at = {"params": start, "lr": np.array(0.2)}
    ours, theirs = (value_and_grad(trained_with(function))(at) for function in (loss, plainly))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12) and relative_error(ours[1], theirs[1]) < 1e-10
    trained = hg.train(loss, start, hg.SGD(0.2), steps=3)
    assert loss.to_module(trained) is module and module.out.weight is module.embed.weight
    np.testing.assert_array_equal(module.out.weight.detach().numpy(), trained["embed.weight"])
    assert torch.equal(module.body.bias, frozen)


def test_buffers_are_left_until_they_are_calibrated():
    loss = LOSSES["cnn"]()
    module, before = loss.module, everything(loss.module)
    with pytest.warns(errors.BufferWarning, match=r"1\.running_mean.*; loss\.to_module\(trained, calibrate=batches\)"):
        hg.losses.from_torch(module, functions.cross_entropy, IMAGES)
    trained = hg.train(loss, loss.params(), hg.SGD(0.1), steps=3)
    assert same(everything(module), before)
    with pytest.warns(errors.BufferWarning, match="left as they were before training .*; give calibrate=batches"):
        loss.to_module(trained)
    np.testing.assert_array_equal(module[0].weight.detach().numpy(), trained["0.weight"])
    assert torch.equal(module[1].running_mean, before["1.running_mean"])
    loss.to_module(trained, calibrate=IMAGES)
    other = copy.deepcopy(module)
    other[1].momentum = None  # PyTorch's own average
    other[1].reset_running_stats()
    with torch.no_grad():
        for images, _ in IMAGES:
            other(torch.as_tensor(images))
    torch.testing.assert_close(module[1].running_mean, other[1].running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(module[1].running_var, other[1].running_var, rtol=1e-12, atol=0)
    assert module[1].momentum == 0.1 and int(module[1].num_batches_tracked) == 3
    with pytest.raises(errors.ArgumentError, match="calibrate must be a list of batches"):
        loss.to_module(trained, calibrate=lambda step: IMAGES[step])
    with pytest.raises(errors.NestError, match="names of the module's parameters"):
        loss.to_module({"0.weight": trained["0.weight"]})


def test_buffers_that_are_no_statistics_are_named_and_left():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(36, 3).double()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls = self.calls + 1
            return self.linear(x.flatten(1))

    loss = quiet(Counting(), functions.cross_entropy, IMAGES)
    hg.train(loss, loss.params(), hg.SGD(0.1), steps=3)
    with pytest.warns(errors.BufferWarning, match=r"\(calls\); they are no running statistics"):
        loss.to_module(loss.params(), calibrate=IMAGES)
    assert float(loss.module.calls) == 0.0


def test_layers_in_evaluation_mode_stay_so():
    module = cnn().eval()
    module[1].running_mean += 0.3
    loss = hg.losses.from_torch(module, functions.cross_entropy, IMAGES)
    expected = functions.cross_entropy(module(torch.as_tensor(IMAGES[0][0])), torch.as_tensor(IMAGES[0][1]))
    assert loss(loss.params(), None, 0) == pytest.approx(expected.item(), rel=1e-12)
    hg.testing.check_loss(loss, loss.params(), steps=1)


def test_criteria_with_hyper_and_batches_of_every_form():
    module = nn.Linear(3, 2).double()
    x, y = RNG.standard_normal((2, 4, 3)).astype(np.float32), RNG.integers(0, 2, (2, 4))
    smoothed = lambda output, target, hyper: functions.cross_entropy(output * hyper["heat"], target)
    for batches in (list(zip(x, y)), lambda step: [x[step % 2], torch.as_tensor(y[step % 2])]):
        loss = hg.losses.from_torch(module, smoothed, batches)
        f = lambda heat, loss=loss: squares(hg.train(loss, loss.params(), hg.SGD(0.3), {"heat": heat}, steps=4))
        hg.testing.check_hypergradient(f, 1.5)

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3).double())

        def forward(self, a, b):
            return self.w * a - b

    for given in ((x[0], x[1]), {"a": x[0], "b": x[1]}):
        loss = hg.losses.from_torch(Sum(), lambda output, target: (output**2).mean() * target, [(given, 2.0)])
        assert loss(loss.params(), None, 0) == pytest.approx(2 * np.mean((x[0] - x[1]).astype(float) ** 2), rel=1e-6)


def test_what_a_batch_draws_with_pytorch_is_seeded_too():
    module = nn.Linear(3, 2).double()
    noisy = lambda step: (torch.randn(4, 3, dtype=torch.double), torch.zeros(4, 2))
    loss = hg.losses.from_torch(module, functions.mse_loss, noisy)
    f = trained_with(loss, hg.Checkpointed(1))
    at = {"params": loss.params(), "lr": np.array(0.1)}
    assert relative_error(grad(f)(at), grad(trained_with(loss, hg.Stored()))(at)) < 1e-13


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
def test_on_a_gpu():
    at = {"params": LOSSES["encoder"]().params(), "lr": np.array(0.1)}
    on_gpu = hg.losses.from_torch(encoder(0.0).cuda(), functions.mse_loss, SEQUENCES)
    found = grad(trained_with(on_gpu))(at)
    assert relative_error(found, grad(trained_with(LOSSES["encoder"]()))(at)) < 1e-8
