"""The page for those who come from PyTorch runs as printed."""

import numpy as np
import pytest
from test_readme import ROOT, python_blocks

from hypergrad.errors import BufferWarning

torch = pytest.importorskip("torch", reason="needs the extra torch: pip install -e '.[torch]'")


def test_the_page_runs_and_its_module_learns():
    page, namespace = ROOT / "docs" / "pytorch.md", {}
    with pytest.warns(BufferWarning):
        for block in python_blocks(page):
            exec(compile(block, str(page), "exec"), namespace)
    assert namespace["hypergradient"].shape == (20,) and np.abs(namespace["hypergradient"]).max() > 0
    assert namespace["accuracy"] > 0.8
