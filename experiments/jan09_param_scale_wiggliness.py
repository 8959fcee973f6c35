"""9 January 2015: how wiggly is the loss after training as a function of the scale of the initial parameters?

Setting: 784-200-50-10 tanh on the first 1,000 MNIST training images, minibatches of 250 in order,
learning rate 1, momentum 0.9, ten seeds. The training loss on all 1,000 images, and its exact
derivative by the log of the standard deviation of all initial weights and biases.

Part 1: log scale −4 to 1, after 0, 1, 5, 10, 20 and 50 steps.
Part 2, a closer look: −2 to 1 after 10 and 15 steps, and the loss without its moving average.
Part 3: up to 400 steps. Does the chaos calm when the scale is small enough?
Part 4: is the wild gradient numerical instability, or is the function really rough? The derivative of
a smaller training run in float32, float64 and extended precision, against differences of the loss.
"""

import sys

from experiments.parts.jan09_param_scale_wiggliness.precision import Precision
from experiments.shared import runner
from experiments.shared.sweeps import Sweeps

LOOK_AT = (
    "Look where the curves leave the frame: up to there the lower one is the slope of the upper one. Part 4 shows\n"
    "that past it the derivative is still the slope of the loss, over distances too small to see."
)
PARTS = {
    1: Sweeps(
        low=-4.0, high=1.0, values=40, quick_every=8, counts=(0, 1, 5, 10, 20, 50), log_lr=0.0, locate=True, seeds=10
    ),
    2: Sweeps(
        low=-2.0,
        high=1.0,
        values=100,
        quick_every=10,
        counts=(10, 15),
        log_lr=0.0,
        moving_average=20,
        locate=True,
        seeds=10,
    ),
    3: Sweeps(
        low=-4.0, high=1.0, values=20, quick_every=5, counts=(50, 100, 200, 400), log_lr=0.0, magnitude=True, seeds=10
    ),
    4: Precision(
        low=-2.0, high=1.75, values=31, quick_every=10, decades=16, zoom_at=1.0, zooms=(1e-1, 1e-4, 1e-8), seeds=10
    ),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
