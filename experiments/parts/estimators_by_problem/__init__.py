"""Parts of :mod:`experiments.estimators_by_problem` that have files of their own."""
