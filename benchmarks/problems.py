"""The problems that the measurements share, each with everything an entry needs to know."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from hypergrad.workspace import pieces


class SGDProblem:
    """What every problem has: rates for SGD that come from ``hypers``."""

    scheduled = False

    def rates(self, hypers, exp=anp.exp):
        """The learning rate and the momentum, each a number or an array (steps, layers)."""
        return (exp(hypers[0]), hypers[1]) if self.scheduled else (exp(hypers[0]), 0.9)

    def at(self, rate, step: int, layer: int):
        """A learning rate or momentum at one step for one layer."""
        return rate[step, layer] if self.scheduled else rate


class Network(SGDProblem):
    """A tanh network on MNIST and a hypergradient of its training loss after training, by SGD.

    Args:
      sizes: the widths.
      steps, batch_size: of the training; minibatches in order.
      scheduled: whether the hyperparameters are a log learning rate and a momentum for every step and
        layer, two arrays (steps, layers); otherwise one log learning rate, with momentum 0.9.
      log_lr: where they start.
      images: how many training images.
    """

    def __init__(self, sizes, steps: int, batch_size: int, scheduled=False, log_lr=0.0, images=1_000):
        ((self.X, self.T),) = hg.data.load_mnist(images)
        self.sizes, self.steps, self.scheduled = tuple(sizes), steps, scheduled
        self.layers = len(sizes) - 1
        self.model = hg.nn.MLP(list(sizes))
        self.loss = hg.nn.MinibatchLoss(self.model, self.X, self.T, batch_size)
        self.params = hg.init.scaled_normal(self.model.shapes, np.exp(-2.0), seed=0)
        shape = (steps, self.layers)
        self.hypers = (np.full(shape, log_lr), np.full(shape, 0.9)) if scheduled else (np.float64(log_lr),)

    @property
    def title(self) -> str:
        """In words, for tables."""
        by = (
            f"{2 * self.steps * self.layers} per-layer learning rates and momenta" if self.scheduled else "one log rate"
        )
        net = "-".join(map(str, self.sizes))
        return f"{net} tanh, {self.steps} steps, minibatches of {self.loss.batch_size}, {by}"

    @property
    def batch_size(self) -> int:
        return self.loss.batch_size

    @property
    def batches(self) -> int:
        """The number of minibatches; step t sees the one with number t modulo this."""
        return self.loss.batches

    def value(self, params):
        """The loss on all images."""
        return self.model.loss(params, self.X, self.T)

    def final_loss(self, adjoint=None, *, generic=False, exact=False, single=False, foreign=None):
        """The loss on all images after training, as a function of the hyperparameters.

        ``foreign`` has the loss on minibatches and that on all images, if they are other functions.
        """
        params, X, loss = self.params, self.X, self.loss
        if single:
            as_single = lambda a: a.astype(np.float32)
            params, X = [tuple(map(as_single, layer)) for layer in params], as_single(X)
            loss = hg.nn.MinibatchLoss(self.model, X, as_single(self.T), self.loss.batch_size)
        batch_loss = (lambda params, hyper, step: loss(params, hyper, step)) if generic else loss
        value = lambda trained: self.model.loss(trained, X, self.T)
        if foreign is not None:
            batch_loss, value = foreign

        def f(hypers):
            lr, momentum = self.rates(hypers)
            if self.scheduled:
                lr, momentum = ([rate[:, layer] for layer in range(self.layers)] for rate in (lr, momentum))
            optimizer = hg.SGD(lr, momentum, exact=exact)
            return value(hg.train(batch_loss, params, optimizer, steps=self.steps, adjoint=adjoint))

        return f

    def products(self, passes: str, torch=None):
        """The matrix products of the problem and nothing else, on the real minibatches: the floor.

        Of training for ``passes`` = "training"; of training and its derivative, where nothing is computed
        twice, for "stored": the Hessian-vector product has 2 products in the first layer and 6 in others. By NumPy the
        first matrix and its gradient lie column by column, as in training, where OpenBLAS is faster; by PyTorch, if it
        is given, row by row, as in its own unrolled run.
        """
        weights = [W for W, _ in self.params]
        data, rows = self.X, self.loss.batch_size
        activations = [np.random.default_rng(0).standard_normal((rows, W.shape[1])) for W in weights]
        outputs = [a.copy() for a in activations]
        errors = [np.empty((rows, W.shape[0])) for W in weights]
        if torch is None:
            matmul, weights[0] = np.matmul, np.asfortranarray(weights[0])
        else:
            matmul, data = torch.matmul, torch.tensor(data)
            weights, activations, outputs, errors = (
                [torch.tensor(a) for a in arrays] for arrays in (weights, activations, outputs, errors)
            )
        gradients = [(np if torch is None else torch).empty_like(W) for W in weights]

        def forwards(X, times):
            for layer, W in enumerate(weights):
                n = len(X)
                for _ in range(times if layer else 1):
                    matmul(activations[layer - 1][:n] if layer else X, W, out=outputs[layer][:n])

        def backwards(X, times):
            for layer in reversed(range(len(weights))):
                n = len(X)
                inputs, delta = activations[layer - 1][:n] if layer else X, outputs[layer][:n]
                for _ in range(times if layer else 1):
                    if layer > 0 or torch is not None:
                        matmul(inputs.T, delta, out=gradients[layer])
                    else:
                        matmul(delta.T, inputs, out=gradients[layer].T)
                    if layer > 0:
                        matmul(delta, weights[layer].T, out=errors[layer][:n])

        def run():
            for step in range(self.steps):
                start = step % self.batches * rows
                X = data[start : start + rows]
                forwards(X, 1)
                backwards(X, 1)
                if passes == "stored" and step > 0:  # before step 0 nothing depends on the hyperparameters
                    forwards(X, 2)
                    backwards(X, 2)
            for start in range(0, len(data), rows):  # the final loss, and its gradient
                X = data[start : start + rows]
                forwards(X, 1)
                if passes == "stored":
                    backwards(X, 1)

        return run

    def products_and_passes(self):
        """The products of "stored", and the passes over arrays that NumPy needs for the rest of such a run at least.

        Of a (rows, width) array of a hidden layer: tanh and 5 more for the gradient, 13 for the product with the
        Hessian. Of the weights: 5 to update them and the velocity, one to keep it, 7 for their cotangents; in pieces
        that fit the cache.
        """
        products = self.products("stored")
        rows, size = self.loss.batch_size, sum(W.size + b.size for W, b in self.params)
        hidden = [np.full((rows, W.shape[1]), 0.5) for W, _ in self.params[:-1]]
        scratch = [np.empty_like(a) for a in hidden]
        weights, velocity = np.ones(size), np.empty(size)

        def over_weights(passes):
            for part in pieces(size):
                for _ in range(passes):
                    np.multiply(weights[part], 0.5, out=velocity[part])

        def run():
            products()
            kept = np.empty((self.steps, size))
            for step in range(self.steps):
                over_weights(5)
                kept[step] = velocity
                over_weights(7)
                for a, out in zip(hidden, scratch):
                    np.tanh(a, out=out)
                    for _ in range(5 + 13):
                        np.multiply(a, out, out=out)

        return run


class Attention(SGDProblem):
    """One head of self-attention over the 28 rows of an image, written only with autograd.numpy.

    The loss has no derivatives of its own, so everything goes the generic way.
    """

    def __init__(self, steps: int = 20, width: int = 32, batch_size: int = 50):
        ((X, self.T),) = hg.data.load_mnist(500)
        self.X, self.steps, self.width, self.batch_size = X.reshape(-1, 28, 28), steps, width, batch_size
        self.batches, self.layers = len(X) // batch_size, 3  # pairs of arrays, for libraries that want groups
        matrices = {"embedding": (28, width), "query": (width, width), "key": (width, width), "value": (width, width)}
        shapes = matrices | {"hidden": (width, 2 * width), "classes": (2 * width, 10)}
        self.params = hg.init.scaled_normal(shapes, 0.3, seed=0)
        self.hypers = (np.float64(0.0),)

    @property
    def title(self) -> str:
        """In words, for tables."""
        return (
            f"self-attention over image rows, width {self.width}, {self.steps} steps, minibatches of {self.batch_size}"
        )

    def cross_entropy(self, params, X, T):
        """Mean over the images."""
        tokens = anp.dot(X, params["embedding"])
        query, key, value = (anp.dot(tokens, params[name]) for name in ("query", "key", "value"))
        scores = anp.matmul(query, anp.swapaxes(key, 1, 2)) / self.width**0.5
        weights = anp.exp(scores - anp.max(scores, axis=2, keepdims=True))
        mixed = tokens + anp.matmul(weights / anp.sum(weights, axis=2, keepdims=True), value)
        hidden = anp.tanh(anp.dot(anp.mean(mixed, axis=1), params["hidden"]))
        logits = anp.dot(hidden, params["classes"])
        logits = logits - anp.max(logits, axis=1, keepdims=True)
        return -anp.mean(anp.sum(T * (logits - anp.log(anp.sum(anp.exp(logits), axis=1, keepdims=True))), axis=1))

    def loss(self, params, hyper, step: int):
        """The loss on the minibatch of a step."""
        start = step * self.batch_size % len(self.X)
        rows = slice(start, start + self.batch_size)
        return self.cross_entropy(params, self.X[rows], self.T[rows])

    def value(self, params):
        """The loss on all images."""
        return self.cross_entropy(params, self.X, self.T)

    def final_loss(self, adjoint=None, *, exact=False, foreign=None):
        """The loss on all images after training, as a function of the log learning rate; ``foreign`` as above."""
        batch_loss, value = (self.loss, self.value) if foreign is None else foreign

        def f(hypers):
            optimizer = hg.SGD(anp.exp(hypers[0]), exact=exact)
            return value(hg.train(batch_loss, self.params, optimizer, steps=self.steps, adjoint=adjoint))

        return f
