"""Parts of :mod:`experiments.edge_of_chaos` that have files of their own."""
