"""Parts of the property of echoes: planted customers, courses of a sync, and the moment before a request is served."""

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
    """A customer as it is at the beginning: the link, which fields Autumn has, and what Stripe shows of each."""

    link: Link = "linked"
    has: tuple[bool, bool] = (True, True)
    shown: tuple[str, str] = ("same", "same")
    """Of name and e-mail: the same as Autumn, a stale value, or none."""


@dataclass(frozen=True)
class Syncing:
    """The course of a sync: whole, or its worker dies after so many requests, or a webhook arrives before a request."""

    dies_after: int | None = None
    webhook_at: int | None = None
    pick: int = 0


WHOLE: Final = Syncing()


@dataclass
class Noticing(Switches):
    """Switches that tell of each update that Autumn applied, its answer lost or not."""

    note: Callable[[Json, bool], None] = lambda _body, _is_foreign: None

    async def serve(self, request: web.Request, handler: Handler, refuse: Refuse) -> web.StreamResponse:
        """See Switches."""

        async def noticed(served: web.Request) -> web.StreamResponse:
            response = await handler(served)
            if served.path == UPDATE and response.status == 200:
                self.note(await served.json(), served.headers.get("User-Agent") == OTHER_APP)
            return response

        return await super().serve(request, noticed, refuse)
