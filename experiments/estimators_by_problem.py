"""26 November 2026: which estimator of the hypergradient for which problem: by λT, number of hyperparameters and cost?

Each estimator of hg.meta.estimators that a problem admits, on five problems, ten seeds each: how far it is from the
exact hypergradient, or past the edge of chaos from the gradient of the smoothed loss, and where a descent along it
ends for the same number of trainings (a hypergradient counts as three), beside plain search.

Part 1: from 10 to 5,000 steps, from the calm to λT of thousands, by one log learning rate. The truth is the derivative
of the loss smoothed over σ = 0.1, from values at learning rates 0.05 apart.
Part 2: who wins where: descents from three starts, by 1, 5 and 25 log learning rates.
Part 3: the inverse-time learning rate of Vicol, Metz and Sohl-Dickstein (2021, arXiv:2112.13835), T = 5,000, pieces of
10 and 100 steps, σ = 0.1.
Part 4: logistic regression with 7,840 penalties, where implicit differentiation applies, from 10 to 1,000 steps.
Part 5: a recurrent net that reads 200 time steps, by learning rate and initial scale.
Part 6: where descents end on that net, at the cost of 50 exact hypergradients, from a low learning rate.
Part 7: processor time and memory of the estimators of parts 1 and 3.
Part 8: what more particles buy on the inverse-time rate.

Scaled down to minutes of one core: small nets on 100 to 1,000 MNIST images, pooled in parts 1 to 3, two particles in
part 3, ten in part 8, and descents over 1,000 of the 5,000 steps. --full has the published size of part 3.
"""

import sys

from experiments.parts.estimators_by_problem import (
    estimator_costs,
    estimator_horizons,
    estimator_inverse_time,
    estimator_particles,
    estimator_penalties,
    estimator_recurrent,
    estimator_recurrent_descents,
    estimator_winners,
)
from experiments.shared import runner

LOOK_AT = (
    "Look at where curves cross: the exact hypergradient below λT of about 3, values beyond, search for few numbers."
)
PARTS = {
    1: estimator_horizons.Config(seeds=10, quick_every=2),
    2: estimator_winners.Config(seeds=10, quick_every=25),
    3: estimator_inverse_time.Config(seeds=10, quick_every=10, budget=150),
    4: estimator_penalties.Config(seeds=10, quick_every=10),
    5: estimator_recurrent.Config(seeds=10, quick_every=2),
    6: estimator_recurrent_descents.Config(seeds=10, quick_every=25),
    7: estimator_costs.Config(seeds=10, quick_every=2),
    8: estimator_particles.Config(seeds=10, quick_every=10),
}
FULL = {
    3: estimator_inverse_time.Config(
        seeds=10,
        side=28,
        hidden=(100, 100),
        images=50_000,
        batch_size=100,
        outer_images=1_000,
        pairs=500,
        descent_steps=5_000,
        budget=10_000,
        grid=40,
    ),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
