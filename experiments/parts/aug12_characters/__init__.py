"""Parts of :mod:`experiments.aug12_characters` that have files of their own."""
