"""The page for those who come from PyTorch runs as printed."""

import numpy as np
import pytest
from pages import namespace_of

from hypergrad.errors import BufferWarning

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")


def test_the_page_runs_and_its_module_learns():
    with pytest.warns(BufferWarning):
        namespace = namespace_of("docs/pytorch.md")
    assert namespace["hypergradient"].shape == (20,) and np.abs(namespace["hypergradient"]).max() > 0
    assert namespace["accuracy"] > 0.8
