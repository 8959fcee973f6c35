"""22 November 2026: where does chaos begin, and is it where the curvature makes training unstable?

Setting: 784-30-10 tanh on the first 500 MNIST training images, minibatches of 125 in order, log
parameter scale −2, momentum 0.9, 50 steps. The edge of chaos is the log learning rate
past which the derivative no longer describes the training loss on all images, located with 40
trainings.

Part 1: three signs of the edge over a dense sweep: the mismatch of derivative and loss, sign flips of
the derivative, growth of perturbations; ten seeds.
Part 2: the edge against the number of steps, momentum, parameter scale, width, depth and batch size, ten seeds;
and the learning rate 2(1 + β) / ((1 − β) λ_max) up to which a quadratic of that sharpness is stable.
Part 3: the sharpness along training below, at and past the edge, with minibatches and momentum, and
with neither; ten seeds.
"""

import sys

from experiments.parts.edge_of_chaos import edge_agreement, edge_curves, edge_sharpness
from experiments.shared import runner

LOOK_AT = (
    "Look where the edge leaves the bound of the linear theory: with small minibatches chaos begins far below it,\n"
    "without momentum above it; with all images and momentum 0.9 it begins right there."
)
PARTS = {
    1: edge_agreement.Config(first=1.0, last=3.0, values=201, quick_every=20, seeds=10),
    2: edge_curves.Config(
        varied_steps=(10, 25, 50, 100, 200),
        varied_momentum=(0.0, 0.5, 0.8, 0.9, 0.97),
        varied_log_scale=(-4.0, -3.0, -2.0, -1.0, 0.0),
        varied_width=(8, 15, 30, 60, 120),
        varied_hidden_layers=(0, 1, 2, 3, 4),
        varied_batch_size=(25, 50, 125, 250, 500),
        quick_every=2,
        seeds=10,
    ),
    3: edge_sharpness.Config(quick_every=10, seeds=10),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
