"""Long runs that can be ended at any moment and lose nothing.

- ``grid``: trainings over a grid, with seeds, their table and learning curves: ``trials``;
- ``store``: finished pieces in files, written whole or not at all and checked when read;
- ``parallel``: independent points, by worker processes and kept in a folder;
- ``snapshots``: where the trainings of a point are kept until it is finished;
- ``lock``: one run at a time in a folder;
- ``recheck``: whether stored results are those of the function at hand;
- ``journal``: what trainings tell of themselves on the way;
- ``owner``: which process something belongs to, and whether it still lives.
"""

from .grid import Trial, Trials, trials
from .smoothing import running_mean

__all__ = ["Trial", "Trials", "running_mean", "trials"]


def __dir__():
    return __all__
