"""26 November 2026: which estimator of the hypergradient for which problem?"""

import sys

from experiments.shared import (
    estimator_horizons,
    estimator_inverse_time,
    estimator_penalties,
    estimator_winners,
    runner,
)

LOOK_AT = "x"
PARTS = {
    1: estimator_horizons.Config(seeds=10, quick_every=2),
    2: estimator_winners.Config(seeds=10, quick_every=25),
    3: estimator_inverse_time.Config(seeds=10, quick_every=10),
    4: estimator_penalties.Config(seeds=10, quick_every=10),
}
FULL = {}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
