"""14 January 2015: how wiggly is the loss after training as a function of the learning rate?

Setting: 784-200-50-10 tanh on the first 1,000 MNIST training images, minibatches of 250 in order,
log parameter scale −2, momentum 0.9, one constant learning rate. The training loss on all 1,000
images, and its exact derivative by the log of the learning rate in forward mode.

Part 1: log learning rate −4 to 3, after 0, 1, 5, 10, 20 and 50 steps, ten seeds.
Part 2, a closer look: 0.5 to 2.5 after 50 steps, 1,000 values, ten seeds.
"""

import sys

from experiments.shared import runner
from experiments.shared.sweeps import Sweeps

LOOK_AT = (
    "Look at the right-hand side: where nothing is shaded the lower curve is the slope of the upper one; then the\n"
    "derivative grows by many orders of magnitude and no longer tells anything about the loss nearby."
)
PARTS = {
    1: Sweeps(
        low=-4.0,
        high=3.0,
        values=20,
        quick_every=3,
        counts=(0, 1, 5, 10, 20, 50),
        log_scale=-2.0,
        locate=True,
        seeds=10,
    ),
    2: Sweeps(low=0.5, high=2.5, values=1_000, quick_every=50, counts=(50,), log_scale=-2.0, seeds=10),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
