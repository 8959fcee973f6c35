"""The figure of descents on validation sets of several sizes: against the number of hyperparameters, and on the way."""

from __future__ import annotations

import numpy as np

from hypergrad.style import CYCLE, in_style


@in_style
def plot(results, config, plt):
    """A column for each size of the validation set."""
    figure, axes = plt.subplots(1, len(config.sizes), figsize=(13, 4), layout="constrained", squeeze=False)
    for axis, n in zip(axes[0], config.sizes):
        at = config.descended().index(n)
        for place, numbers in enumerate(config.spaces()):
            for array, style in ((results.third[place, at, ..., 0], "-"), (results.valid[place, at, ..., at], "--")):
                axis.plot(np.nanmean(array, axis=0), style, color=CYCLE[place], label=f"{numbers:,}" * (style == "-"))
        axis.set(xlabel="meta-iteration", ylabel="loss (nats)", title=f"{n:,} validation images")
    axes[0, 0].legend()
    return figure
