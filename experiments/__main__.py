"""``python -m experiments`` lists the experiments: date, name and question."""

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[a-z][a-z][a-z][0-9][0-9]_*.py")):
    question = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    print(f"python -m experiments.{path.stem:<26} {question}")
