"""What JAX cannot trace, or would compute in another precision, gets a sentence; so do its arrays elsewhere."""

import re
import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import hypergrad as hg
from hypergrad import errors

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")
jnp = jax.numpy

X = np.random.default_rng(0).standard_normal((6, 4))
SINGLE = jnp.asarray(X)  # float32, since JAX's flag is not set
NUMBER = SINGLE[0, 0]
WHERE = r"test_jax_errors\.py:\d+: `.*`: the loss "


def train(loss, w=None, h=None, **options):
    return hg.train(hg.losses.from_jax(loss, **options), np.ones(4) if w is None else w, hg.SGD(0.1), h, steps=2)


def numbered_rows(w, h, t):
    return jnp.sum(X[t] * w)


def counted(w, h, t):
    total = 0.0
    for _ in range(t + 1):
        total = total + jnp.sum(w**2)
    return total


def branching(w, h, t):
    return jnp.sum(w**2) if t < 1 else jnp.sum(w**4)


def branching_on_params(w, h, t):
    return jnp.sum(w**2) if jnp.sum(w) > 0 else 0.0


def sliced(w, h, t):
    return jnp.sum(jnp.asarray(X)[t : t + 2] @ w)


def assigning(w, h, t):
    w[0] = 1.0
    return jnp.sum(w)


def looking_up(w, h, t):
    return jnp.sum(w**2) * {0: 1.0, 1: 2.0}[t]


def drawing(w, h, t):
    return jnp.sum(w * np.random.default_rng(t).standard_normal(4))


def looping(w, h, t):
    return jax.lax.fori_loop(0, t, lambda i, total: total + jnp.sum(w**2), 0.0)


def called_back(w, h, t):
    return jax.pure_callback(lambda x: np.sum(x**2), jax.ShapeDtypeStruct((), w.dtype), w)


def misshapen(w, h, t):
    return jnp.sum(X @ w[:3])


CASES = {
    "control flow on step": (branching, WHERE + r"uses Python control flow.*`step`.*jnp\.where, jax\.lax\.cond"),
    "control flow on params": (branching_on_params, WHERE + "uses Python control flow"),
    "range of step": (counted, WHERE + "uses Python control flow.*jax.lax.scan"),
    "look-up by step": (looking_up, WHERE + "uses Python control flow"),
    "NumPy's generator": (drawing, WHERE + "uses Python control flow"),
    "a loop of unknown length": (looping, "JAX cannot differentiate the loss, or not twice: Reverse-mode"),
    "a callback": (called_back, "JAX cannot differentiate the loss, or not twice: Pure callbacks"),
    "NumPy's index": (
        numbered_rows,
        WHERE + r"must be written with jax\.numpy.*rows of a NumPy array X.* jnp\.asarray\(X\)",
    ),
    "slice by step": (sliced, WHERE + ".*dynamic_slice"),
    "float of params": (lambda w, h, t: float(w[0]) * jnp.sum(w), WHERE + "uses Python control flow.*conversion"),
    "NumPy": (lambda w, h, t: np.sum(np.tanh(w)), WHERE + r"must be written with jax\.numpy .*not with NumPy"),
    "autograd.numpy": (lambda w, h, t: anp.sum(anp.tanh(w)), WHERE + r"must be written with jax\.numpy .*autograd"),
    "assignment": (assigning, WHERE + "raised TypeError.*immutable"),
    "shapes": (misshapen, WHERE + "raised (TypeError|ValueError)"),
    "no scalar": (lambda w, h, t: w**2, r"the loss has shape \(4,\); it must be a scalar: return a sum or a mean"),
    "a pair": (lambda w, h, t: (jnp.sum(w), w), "the loss returned a tuple; it must return a scalar"),
    "nothing": (lambda w, h, t: None, "the loss returned None"),
    "complex": (lambda w, h, t: jnp.sum(w) * 1j, "the loss is complex; take its real part"),
    "integer": (lambda w, h, t: jnp.sum(jnp.sign(w)).astype(int), "the value of the loss is of dtype int"),
    "no params": (lambda w, h, t: jnp.sum(X[0]) * t, "the loss does not depend on params; compute it from"),
    "only their shape": (lambda w, h, t: jnp.sum(jnp.zeros_like(w)) + t, "the loss does not depend on params"),
    "float32": (
        lambda w, h, t: jnp.mean((SINGLE @ w) ** 2),
        r"array of shape \(6, 4\) in float32.*dtype=numpy\.float32",
    ),
    "float32 of NumPy": (lambda w, h, t: jnp.mean((X.astype(np.float32) @ w) ** 2), r"\(6, 4\) in float32"),
    "float32 in jit": (lambda w, h, t: jax.jit(lambda w: jnp.mean((SINGLE @ w) ** 2))(w), r"\(6, 4\) in float32"),
    "float32 in scan": (
        lambda w, h, t: jax.lax.scan(lambda total, x: (total + jnp.sum((SINGLE @ w) ** 2), x), 0.0, X)[0],
        r"\(6, 4\) in float32",
    ),
    "a number in float32": (lambda w, h, t: jnp.sum(w**2) * NUMBER, r"shape \(\) in float32"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_computed_is_refused(case):
    loss, message = CASES[case]
    with pytest.raises(errors.LossError, match=message):
        train(loss)


def test_float32_is_fine_where_it_is_asked_for():
    for options in ({"dtype": np.float32}, {"w": np.ones(4, dtype=np.float32)}):
        trained = train(lambda w, h, t: jnp.mean((SINGLE @ w) ** 2), **options)
        assert np.isfinite(trained).all()
    mine = train(lambda w, h, t: jnp.mean((X @ w).astype(jnp.float32) ** 2))
    assert mine.dtype == np.float64, "float32 that the loss itself asks for is its own affair"


def test_errors_of_the_loss_itself_stay_as_they_are():
    def failing(w, h, t):
        raise KeyError("of mine")

    with pytest.raises(KeyError, match="of mine"):
        train(failing)

    def named(w, h, t):
        raise ValueError("a BoundingBox of mine")

    with pytest.raises(ValueError, match="a BoundingBox of mine"):
        train(named)


def test_params_and_hyper_are_checked_as_ever():
    bowl = lambda p, h, t: jnp.sum(p["w"] ** 2)
    with pytest.raises(errors.NestError, match=r"params\['n'\] has dtype int64; convert it with \.astype"):
        train(bowl, {"w": np.ones(2), "n": np.arange(3)})
    with pytest.raises(errors.NestError, match=r"params\['n'\] is the integer 3"):
        train(bowl, {"w": np.ones(2), "n": 3})
    with pytest.raises(errors.NestError, match=r"hyper\['on'\] is"):
        train(bowl, {"w": np.ones(2)}, {"on": True})


@pytest.mark.parametrize("make", [hg.losses.from_jax, hg.losses.jax_function])
def test_arguments(make):
    with pytest.raises(errors.ArgumentError, match=r"needs a function.* got 3"):
        make(3)
    for dtype in (np.float16, jnp.bfloat16, "int32", "fast"):
        with pytest.raises(errors.ArgumentError, match="must be float64 or float32, got"):
            make(jnp.sum, dtype=dtype)


def test_a_value_that_is_differentiated_must_come_in_as_hyper():
    def f(x):
        return anp.sum(
            hg.train(hg.losses.from_jax(lambda w, h, t: x * jnp.sum(w**2)), np.ones(3), hg.SGD(0.1), steps=2)
        )

    with pytest.raises(errors.DifferentiationError, match=r"closes over it.*hyper=value"):
        grad(f)(2.0)


def test_jax_around_a_run():
    loss = hg.losses.from_jax(lambda w, h, t: jnp.sum(w**2))
    run = lambda w, h: jnp.sum(jnp.asarray(hg.train(loss, w, hg.SGD(0.1), h, steps=2)))
    with pytest.raises(errors.DifferentiationError, match=r"params is being traced by JAX.*autograd's grad"):
        jax.grad(lambda w: run(w, None))(jnp.ones(3))
    with pytest.raises(errors.DifferentiationError, match="hyper is being traced by JAX"):
        jax.jit(lambda h: run(np.ones(3), h))(1.0)

    def capturing(x):
        inner = hg.losses.from_jax(lambda w, h, t: x * jnp.sum(w**2))
        return jnp.sum(jnp.asarray(hg.train(inner, np.ones(3), hg.SGD(0.1), steps=2)))

    with pytest.raises(errors.DifferentiationError, match=r"captures a value that JAX is tracing.*hyper=value"):
        jax.grad(capturing)(2.0)


def test_a_loss_in_jax_that_comes_as_it_is():
    with pytest.raises(errors.LossError, match=r"hypergrad\.losses\.from_jax\(loss\)"):
        hg.train(lambda w, h, t: jnp.sum(w**2), np.ones(3), hg.SGD(0.1), steps=2)


def test_arrays_of_jax_are_converted():
    """To a plain loss too: nothing is lost by that."""
    plain = lambda w, h, t: anp.sum((w - h) ** 2)
    given = (jnp.ones(3), jnp.float32(0.5), jnp.full(2, 0.1))
    numpys = [np.array(x) for x in given]
    run = lambda w, h, lr: hg.train(plain, w, hg.SGD(lr, jnp.float32(0.5)), h, steps=2)
    trained = run(*given)
    assert type(trained) is np.ndarray and trained.dtype == np.float32
    np.testing.assert_array_equal(trained, run(*numpys))
    model = hg.nn.MLP([4, 3, 2])
    params = hg.init.scaled_normal(model.shapes, 0.5, seed=0)
    for rows, classes in ((jnp.asarray(X), jnp.arange(6) % 2), (np.asarray(X, np.float32), np.arange(6) % 2)):
        trained = hg.train(hg.nn.MinibatchLoss(model, rows, classes), params, hg.SGD(0.1), steps=2)
        assert np.isfinite(trained[0][0]).all()
    assert hg.schedules.binned(jnp.ones(2), 4).shape == (4,)
    assert type(hg.schedules.cosine(jnp.float32(0.1), 4)) is np.ndarray
    np.testing.assert_array_equal(
        hg.train(plain, np.ones(3), hg.SGD(hg.PerWeight(jnp.full(3, 0.1))), 0.5, steps=2),
        hg.train(plain, np.ones(3), hg.SGD(hg.PerWeight(np.full(3, np.float32(0.1)))), 0.5, steps=2),
    )


def test_arrays_that_cannot_be_converted():
    plain = lambda w, h, t: anp.sum(w**2)
    with pytest.raises(errors.NestError, match="params is an array of JAX of dtype bfloat16: give a float array"):
        hg.train(plain, jnp.ones(3, dtype=jnp.bfloat16), hg.SGD(0.1), steps=2)
    with pytest.raises(errors.NestError, match=r"hyper is an array of JAX of dtype key.*from_jax"):
        hg.train(plain, np.ones(3), hg.SGD(0.1), jax.random.key(0), steps=2)


def test_without_jax_there_is_one_sentence():
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "import hypergrad as hg\n"
        "for make in (hg.losses.from_jax, hg.losses.jax_function):\n"
        "    try: make(lambda *_: 0.0)\n"
        "    except hg.errors.MissingExtraError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) == 2
    for line, name in zip(run.stdout.splitlines(), ("from_jax", "jax_function")):
        assert re.fullmatch(rf"hg\.losses\.{name} needs jax, which is not installed: pip install -e .*\[jax\].*", line)
