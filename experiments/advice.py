"""26 November 2026: which estimator of the hypergradient will be the best here: can a few cheap runs tell?

``hg.probe.advise`` is asked about tiny trainings, and each estimator of ``hg.meta.estimators`` is measured on them at
equal cost: 20 trainings an estimate, or one or one and a half where the exact hypergradient is not to be had. The error
is the root mean square over 12 draws of estimate minus truth, relative to the truth: below the edge of chaos the exact
hypergradient; past it the gradient of the objective smoothed over a step of 0.1, by quadrature, for one or two
hyperparameters (for more of them none is known). Past the edge is where the derivative misses the objective by more
than 5 % of its integral over ± a step, by 64 trapezoids. An error below 0.001 counts as 0.001.

Part 1: the development set, with which the rule was written.
Part 2: problems that were built when the rule had been frozen: other data, models, optimizers and hyperparameters.
"""

import sys

from experiments.parts.advice import advice_measured
from experiments.shared import runner

LOOK_AT = "Look at the points above the dashed line: there another estimator was more than twice as good."
PARTS = {
    1: advice_measured.Config(round=0, seeds=1, quick_every=9),
    2: advice_measured.Config(round=1, quick_every=7),
}

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
