"""Whether a list that is spooled goes on: no cursor and no page comes twice, and there is an end to it.

A service, or a proxy before it, may answer with the same pages for ever. Each page looks right by itself, so the pages
before it are needed to tell. No I/O here.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from jobs.errors import GiveUp, Service

ROWS_AT_MOST: Final = 20_000_000
"""Of one list: some 7 GB on disk, and half a day at the rate of a scan."""
EMPTY_PAGES_AT_MOST: Final = 10_000
"""In a row, with another page to follow. Customers without an id and payments of guests make some of them."""

Known = Callable[[Collection[str]], int]
"""Returns how many of these ids were kept before."""


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
        self._smallest = set[int]()
        self._empty_pages = 0

    def check(self, ids: Sequence[str], cursor: str | None, *, came_from: str, rows: int, known: Known) -> None:
        """Look at the next page: its ids, the cursor behind it (None after the last) and the one it was read from.

        `rows` were kept before. Raises ListError.
        """
        if rows + len(ids) > self._rows_at_most:
            text = f"{self._name} has more than {self._rows_at_most:,} rows: too many to be compared"
            raise ListError(self._service, "list_too_long", text)
        self._cursors.add(came_from)
        self._empty_pages = 0 if ids else self._empty_pages + 1
        brings_nothing = self._is_known(frozenset(ids), known) or self._empty_pages > EMPTY_PAGES_AT_MOST
        if cursor is not None and (cursor in self._cursors or brings_nothing):
            text = f"{self._name} repeats itself and does not end: scan again, and report it if it stays so"
            raise ListError(self._service, "list_repeats", text)

    def _is_known(self, page: frozenset[str], known: Known) -> bool:
        """Whether all of a page was kept before.

        To ask for each page would need an index, which costs several times what the rows do. So it is asked if the
        smallest id was that of another page before: in a list that goes round, all of them are in the second round.
        """
        if not page:
            return False
        smallest = hash(min(page))
        may_be_known = smallest in self._smallest
        self._smallest.add(smallest)
        return may_be_known and known(page) == len(page)
