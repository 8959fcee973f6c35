"""What the trainings of a run tell of themselves while it is computed, to be stored beside its result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Journal:
    """Rows of plain numbers, texts and dicts of those, in the order in which they came.

    Attributes:
      rows: the rows.
    """

    def __init__(self):
        self.rows: list[dict] = []

    def write(self, row: dict) -> None:
        """Add a row."""
        self.rows.append(row)

    @staticmethod
    @contextlib.contextmanager
    def opened() -> Iterator[Journal]:
        """A context, of this thread, in which a new journal is the one that is written to."""
        journal = Journal()
        token = _current.set(journal)
        try:
            yield journal
        finally:
            _current.reset(token)

    @staticmethod
    def current() -> Journal | None:
        """The journal of the innermost context, or None outside any."""
        return _current.get()


_current: ContextVar[Journal | None] = ContextVar("journal", default=None)
