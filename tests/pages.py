"""The code on a page of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def python_blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


def namespace_of(page):
    """What the examples of a page define, once they have run."""
    namespace = {}
    for block in python_blocks(ROOT / page):
        exec(compile(block, str(page), "exec"), namespace)
    return namespace
