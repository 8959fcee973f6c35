"""Parts of :mod:`experiments.estimators_against_exact` that have files of their own."""
