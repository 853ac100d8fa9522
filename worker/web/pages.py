"""The operator's page: the overview, the history of a customer, and dead letters to replay or drop.

worker.web.access checks access. Ids are sent in forms and never in URLs, because an app may use e-mail addresses as ids
and proxies log URLs. Each action asks for a confirmation, and its log line contains only ids.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final

import structlog
from aiohttp import web
from redis.asyncio import Redis

from config.settings import Settings
from jobs.errors import SyncError
from jobs.events import EventError, new_update
from jobs.queue.dead_letters import DeadLetters
from jobs.queue.status import Standing, read_standing
from jobs.sync.deps import Deps
from jobs.sync.preview import Preview, preview
from worker.status import summary
from worker.status.customer_text import verdict_of
from worker.status.live_text import preview_failure_text
from worker.status.shared_state import READ_SECONDS, ReadState
from worker.status.snapshot import WAITING_AT_MOST, SnapshotReader
from worker.status.trends import HOURS, trends_of
from worker.web import views as page_views
from worker.web.access import AccessControl, answer
from worker.web.credentials import Credentials, Tries
from worker.web.sessions import Session
from worker.web.views import charts_of

log = structlog.get_logger(__name__)

LETTERS_SHOWN: Final = 50
FETCH_SECONDS: Final = 15.0
STATIC: Final = {"page.css": "text/css", "operator.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Public files, which contain no data."""


@dataclass(frozen=True)
class Backstage:
    """The dependencies of the pages. `preview` fetches a customer from both services."""

    snapshots: SnapshotReader
    letters: DeadLetters
    standing: Callable[[str], Awaitable[Standing]]
    preview: Callable[[str], Awaitable[Preview]]


def add_pages(app: web.Application, access: AccessControl, backstage: Backstage) -> None:
    """Add the routes of the page to the application."""
    pages = Pages(backstage)
    guard = access.guard
    app.add_routes(
        [
            web.get("/", guard(pages.overview)),
            web.post("/customer", guard(pages.customer)),
            web.post("/dead-letters", guard(pages.confirm, acts=True)),
            web.post("/dead-letters/replay", guard(pages.replay, acts=True)),
            web.post("/dead-letters/drop", guard(pages.drop, acts=True)),
            web.post("/sign-in", access.sign_in),
            web.post("/sign-out", guard(access.sign_out)),
            web.get("/static/{name}", _static),
        ]
    )


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in STATIC:
        raise web.HTTPNotFound
    text = (files(__package__) / "static" / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=STATIC[name], headers={"Cache-Control": "max-age=300"})


class Pages:
    """The handlers of the pages, behind the access check."""

    def __init__(self, backstage: Backstage) -> None:
        """Keep the dependencies; nothing is opened."""
        self._back = backstage

    async def overview(self, _: web.Request, session: Session, values: Mapping[str, Any]) -> web.Response:
        """GET /: the overview."""
        snapshot = await self._back.snapshots.read()
        overview, letters = snapshot.overview, snapshot.letters
        return answer(
            "overview.html",
            values,
            mode=snapshot.mode,
            now_ms=overview.now_ms,
            headline=summary.headline_of(snapshot.state),
            stages=summary.stages_of(overview),
            watch=list(summary.watch_lines(snapshot.state)),
            charts=charts_of(trends_of(snapshot.minutes, snapshot.rates)),
            hours=HOURS,
            waiting=page_views.waiting_of(snapshot.waiting),
            waiting_shown=WAITING_AT_MOST,
            letters=letters[:LETTERS_SHOWN],
            letters_number=overview.dead,
            reasons=summary.reasons_of(letters),
            reasons_of=len(letters),
            runs=snapshot.runs,
            can_act=session.is_operator,
        )

    async def customer(self, request: web.Request, session: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /customer: one customer's history, and with `live` both sides now."""
        form = await request.post()
        try:
            customer = new_update(
                customer_id=str(form.get("customer", "")).strip(), type="customer.reconcile"
            ).customer_id
        except EventError:
            # The input is not logged, because it may be a name or an address.
            text = "A customer's id may contain only letters, digits, _, : and -. Go back and correct it."
            return answer("message.html", values, status=400, title="This is not a customer's id", text=text)
        standing = await self._back.standing(customer)
        letters = await self._back.letters.newest_of(customer, at_most=LETTERS_SHOWN)
        live: Mapping[str, Any] = {"is_live": "live" in form}
        if "live" in form:
            log.info("customer_viewed", customer=customer)
            live = {**live, **await self._preview(customer)}
        return answer(
            "customer.html",
            values,
            customer=customer,
            headline=page_views.customer_headline(verdict_of(standing, letters)),
            lines=page_views.customer_lines(standing, letters),
            letters=letters.letters,
            can_act=session.is_operator,
            live=live,
        )

    async def _preview(self, customer: str) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                seen = await self._back.preview(customer)
        except SyncError as error:
            return {"failure": preview_failure_text(error, customer)}
        except TimeoutError:
            return {"failure": f"The services did not answer within {FETCH_SECONDS:.0f} s."}
        return {
            "headline": page_views.live_headline(seen),
            "rows": page_views.comparison_of(seen),
            "steps": page_views.steps_of(seen),
        }

    async def confirm(self, request: web.Request, _: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /dead-letters: show the selected dead letters and ask for a confirmation."""
        form = await request.post()
        found = [letter for letter in [await self._back.letters.find(each) for each in _ids(form)] if letter]
        if not found:
            text = "Nothing selected, or it no longer exists. Go back and select one or more dead letters."
            return answer("message.html", values, status=400, title="No dead letter selected", text=text)
        action = "drop" if form.get("action") == "drop" else "replay"
        return answer("confirm.html", values, letters=found, action=action)

    async def replay(self, request: web.Request, _: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /dead-letters/replay: send the selected dead letters again."""
        ids = _ids(await request.post())
        replayed = await self._back.letters.replay(ids)
        log.info("dead_letters_replayed", letters=[each.id for each in replayed], outdated=_outdated(replayed))
        return answer("done.html", values, replayed=replayed, dropped=[], missing=len(ids) - len(replayed))

    async def drop(self, request: web.Request, _: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /dead-letters/drop: delete the selected dead letters permanently."""
        ids = _ids(await request.post())
        dropped = await self._back.letters.drop(ids)
        log.info("dead_letters_dropped", letters=dropped)
        return answer("done.html", values, replayed=[], dropped=dropped, missing=len(ids) - len(dropped))


def _ids(form: Mapping[str, Any]) -> list[str]:
    """Return the ids of the selected dead letters, each once."""
    given = form.getall("letter", []) if hasattr(form, "getall") else []
    return list(dict.fromkeys(str(each) for each in given))[:LETTERS_SHOWN]


def _outdated(replayed: Sequence[Any]) -> int:
    return sum(each.outdated for each in replayed)


SET_PASSWORD: Final = "set OPERATOR_PASSWORD to sign in with a password and use the actions"  # noqa: S105 - not one


def pages_of(
    settings: Settings, redis: Redis, deps: Deps, read_state: ReadState, *, read_seconds: float = READ_SECONDS
) -> Callable[[web.Application], None]:
    """Return a function that adds the operator's page, with these deps, to an application.

    Without a password, the address that opens the page is logged. Its token works only for this process, because logs
    are kept longer than a process runs. The session that it begins works on all workers. `read_seconds` is the longest
    wait for the key of the sessions.
    """
    prefix = settings.key_prefix
    password = None if settings.operator_password is None else settings.operator_password.get_secret_value()
    token = secrets.token_urlsafe(32)
    if password is None:
        # Logged even at LOG_LEVEL=ERROR, because nobody can open the page without this line.
        logging.getLogger(__name__).setLevel(logging.WARNING)
        log.warning("page_token_issued", url=f"http://localhost:{settings.port}/?token={token}", fix=SET_PASSWORD)
    credentials = Credentials(redis, prefix, password=password, token=token, read_seconds=read_seconds)
    access = AccessControl(credentials, Tries(redis, prefix))
    backstage = Backstage(
        snapshots=SnapshotReader(redis, settings, read_state),
        letters=DeadLetters(redis, inbox=settings.inbox_stream, prefix=prefix),
        standing=partial(read_standing, redis, prefix),
        preview=partial(preview, deps),
    )
    return partial(add_pages, access=access, backstage=backstage)
