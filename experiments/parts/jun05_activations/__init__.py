"""Parts of :mod:`experiments.jun05_activations` that have files of their own."""
