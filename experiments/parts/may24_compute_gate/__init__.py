"""Parts of :mod:`experiments.may24_compute_gate` that have files of their own."""
