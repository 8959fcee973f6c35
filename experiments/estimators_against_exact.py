"""26 November 2026: which hypergradient to believe: how far off is each cheap one, on both sides of the edge of chaos?

Every estimator against the exact hypergradient, on the same runs; estimators_by_problem goes on with other problems.

Part 1: truncation. A quadratic of 20 eigenvalues from 1e-3 to 1, SGD with momentum 0.9, a log learning rate for
every step; the loss after T steps differentiated through the last K. By eigenvalues the exact one is known in closed
form, and so is the truncated one: the tests compare.
Part 2: the calm, the edge and chaos. 784-30-10 tanh on the first 500 MNIST training images, minibatches of 125 in
order, log parameter scale −2, momentum 0.9, 50 steps (the small net of the edge of chaos), one log learning rate from
−1 to 3, ten seeds. The truth is the gradient of the loss smoothed over σ = 0.1, by quadrature; each estimator has
the same number of products.
Part 3: where descent ends. The same net, a log learning rate for each of the 50 steps, started in the calm and at the
edge: 40 meta-iterations of Adam along each estimator, at equal products, ten seeds; the loss on 500 other images, for
ten other initialisations.
"""

import sys

from experiments.parts.estimators_against_exact import estimator_descents, estimator_errors, estimator_truncation
from experiments.shared import runner

LOOK_AT = "Look at where the exact hypergradient stops being the best: past the edge, and only there."
PARTS = {
    1: estimator_truncation.Config(seeds=1, quick_every=4),
    2: estimator_errors.Config(seeds=10, quick_every=8),
    3: estimator_descents.Config(seeds=10, quick_every=20),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
