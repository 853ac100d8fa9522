"""Parts of the property of echoes: planted customers, the ways a sync can go, and the moment before a request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from sandbox.faults import Handler, Refuse, Switches
from tests.support.echoes.truth import Json

UPDATE: Final = "/v1/customers.update"
OTHER_APP: Final = "other-app"

Link = str
LINKS: Final = ("linked", "unclaimed", "unlinked", "found by our id")


@dataclass(frozen=True)
class Planted:
    """A customer at the beginning: the link, the fields that Autumn has, and the values that Stripe shows."""

    link: Link = "linked"
    has: tuple[bool, bool] = (True, True)
    shown: tuple[str, str] = ("same", "same")
    """For name and e-mail: the same as in Autumn, a stale value, or none."""


@dataclass(frozen=True)
class Syncing:
    """A complete sync, or one whose worker dies after some requests, or one with a webhook before a request."""

    dies_after: int | None = None
    webhook_at: int | None = None
    pick: int = 0


WHOLE: Final = Syncing()


@dataclass
class Noticing(Switches):
    """Switches that report each update that Autumn applied, also if its answer was lost."""

    note: Callable[[Json, bool], None] = lambda _body, _is_foreign: None

    async def serve(self, request: web.Request, handler: Handler, refuse: Refuse) -> web.StreamResponse:
        """See Switches."""

        async def noticed(served: web.Request) -> web.StreamResponse:
            response = await handler(served)
            if served.path == UPDATE and response.status == 200:
                self.note(await served.json(), served.headers.get("User-Agent") == OTHER_APP)
            return response

        return await super().serve(request, noticed, refuse)
