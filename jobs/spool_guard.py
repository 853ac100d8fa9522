"""Whether a list that is spooled goes on: no cursor and no page comes twice, and there is an end to it.

A service, or a proxy before it, may answer with the same page for ever. Each page looks right by itself, so the pages
before it are needed to tell. No I/O here.
"""

from collections.abc import Sequence
from typing import Final

from jobs.errors import GiveUp, Service

ROWS_AT_MOST: Final = 20_000_000
"""Of one list: some 7 GB on disk, and half a day at the rate of a scan."""


class ListError(GiveUp):
    """A list that cannot be read to its end. The message is our own text and holds no personal data."""


class ListGuard:
    """Watches one list, page by page."""

    def __init__(self, service: Service, name: str, *, rows_at_most: int) -> None:
        """`name` is what a sentence calls the list."""
        self._service = service
        self._name = name
        self._rows_at_most = rows_at_most
        self._cursors = set[str]()
        self._page = frozenset[str]()

    def check(self, ids: Sequence[str], cursor: str | None, *, came_from: str, rows: int) -> None:
        """Look at the next page: its ids, the cursor behind it (None after the last) and the one it was read from.

        `rows` were kept before. Raises ListError.
        """
        if rows + len(ids) > self._rows_at_most:
            text = f"{self._name} has more than {self._rows_at_most:,} rows: too many to be compared"
            raise ListError(self._service, "list_too_long", text)
        page = frozenset(ids)
        self._cursors.add(came_from)
        if cursor is not None and (cursor in self._cursors or (page and page <= self._page)):
            text = f"{self._name} repeats itself and does not end: scan again, and report it if it stays so"
            raise ListError(self._service, "list_repeats", text)
        self._page = page
