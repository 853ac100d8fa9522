"""The access check of each page: it checks the session and the form, and sets the headers of responses.

Without OPERATOR_PASSWORD the page is read-only, at the address with the token that the worker logs at its start. The
client's address is not used, because behind a proxy on the same machine every client looks local.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web
from redis.exceptions import RedisError, ResponseError

from worker.redis_errors import trouble_of
from worker.web.credentials import MINUTE_SECONDS, Credentials, Tries
from worker.web.rendering import templates
from worker.web.sessions import GUEST, OPERATOR, READER, SESSION_SECONDS, Session, Sessions

log = structlog.get_logger(__name__)

COOKIE: Final = "customer-sync-session"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
"""The content type of our forms. No other type is read."""
ANSWER_SECONDS: Final = 20.0
"""The longest time for a page, even if Redis or a service does not answer."""
RELOAD_SECONDS: Final = 5
"""The time until a browser asks again for a page that Redis did not answer for."""
HOW_TO_OPEN: Final = (
    "Open the address with the token. The worker logs it at its start (page_token_issued). "
    "Or set OPERATOR_PASSWORD to at least 12 characters and restart the worker."
)
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer, because a browser would then not say which site a form comes from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}

Plain = Callable[[web.Request], Awaitable[web.Response]]
Page = Callable[[web.Request, Session, Mapping[str, Any]], Awaitable[web.Response]]


@dataclass(frozen=True)
class Visit:
    """One request and its session. Without a valid cookie it is a new guest session."""

    request: web.Request
    sessions: Sessions
    session: Session

    @property
    def values(self) -> Mapping[str, Any]:
        """The template values of the session, which every page needs."""
        return {"token": self.sessions.token(self.session), "is_operator": self.session.is_operator}

    async def is_our_form(self) -> bool:
        """Return whether the request is a form of this session, and not sent by another site."""
        if self.request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        if self.request.content_type != FORM_TYPE:
            return False
        try:
            form = await self.request.post()
        except (LookupError, ValueError, OSError):
            # The encoding is unknown or wrong, or the form is incomplete.
            return False
        return self.sessions.is_token(self.session, str(form.get("token", "")))

    def keep(self, page: web.Response, session: Session | None = None) -> web.Response:
        """Return the page, with the session's cookie if the browser does not have it yet."""
        cookie = self.sessions.cookie(session or self.session)
        if self.request.cookies.get(COOKIE) != cookie and COOKIE not in page.cookies:
            # A forged header only breaks the sender's own cookie.
            is_secure = self.request.secure or self.request.headers.get("X-Forwarded-Proto", "") == "https"
            page.set_cookie(
                COOKIE, cookie, path="/", max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=is_secure
            )
        return page


class AccessControl:
    """The access check."""

    def __init__(self, credentials: Credentials, tries: Tries) -> None:
        """Keep both; nothing is opened."""
        self._credentials = credentials
        self._tries = tries

    def guard(self, page: Page, *, acts: bool = False) -> Plain:
        """Return the page with its checks. With `acts` it needs the password; a POST must be our form."""

        async def show(visit: Visit) -> web.Response:
            refusal = self._refusal(visit, acts=acts)
            if refusal is not None:
                return refusal
            if visit.request.method == "POST" and not await visit.is_our_form():
                log.warning("form_refused")
                return _message(403, "This form is not valid", "Go back to the page, reload it, and try again.")
            return visit.keep(await page(visit.request, visit.session, visit.values))

        return self._welcome(show)

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /sign-in: check the password and begin a session."""

        async def sign_in(visit: Visit) -> web.Response:
            if not self._credentials.has_password or not await visit.is_our_form():
                return _message(403, "This form is not valid", "Reload the page and try again.")
            return await self._try(visit)

        return await self._welcome(sign_in)(request)

    def _welcome(self, show: Callable[[Visit], Awaitable[web.Response]]) -> Plain:
        async def visit(request: web.Request) -> web.Response:
            sessions = await self._credentials.sessions()
            session = sessions.read(request.cookies.get(COOKIE, "")) or sessions.begin(GUEST)
            return await show(Visit(request, sessions, session))

        async def handle(request: web.Request) -> web.Response:
            return await _in_time(visit(request), is_get=request.method == "GET")

        return handle

    async def _try(self, visit: Visit) -> web.Response:
        name = await self._tries.begin()
        if name is None:
            log.warning("sign_in_throttled")
            held = _sign_in_page(visit, "Too many attempts. Wait a minute and try again.", status=429)
            held.headers["Retry-After"] = str(MINUTE_SECONDS)
            return held
        form = await visit.request.post()
        if not self._credentials.is_password(str(form.get("password", ""))):
            log.warning("sign_in_refused")
            return _sign_in_page(visit, "Wrong password.", status=403)
        await self._tries.forget(name)
        log.info("operator_signed_in")
        return visit.keep(_see_other(), visit.sessions.begin(OPERATOR))

    async def sign_out(self, request: web.Request, _: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /sign-out: delete the cookie."""
        del request, values
        log.info("operator_signed_out")
        gone = _see_other()
        gone.del_cookie(COOKIE, path="/")
        return gone

    def _refusal(self, visit: Visit, *, acts: bool) -> web.Response | None:
        """Return the refusal of a visit, or None if it is allowed."""
        is_get = visit.request.method == "GET"
        if self._credentials.has_password:
            return None if visit.session.is_operator else _sign_in_page(visit, "", status=200 if is_get else 403)
        if is_get and self._credentials.is_token(visit.request.query.get("token", "")):
            # Redirect, so that the token does not stay in the address bar.
            return visit.keep(_see_other(), visit.sessions.begin(READER))
        if not visit.session.is_reader:
            return _message(403, "This page needs a token", HOW_TO_OPEN)
        return _message(403, "This page is read-only", "Set OPERATOR_PASSWORD to use its actions.") if acts else None


def _sign_in_page(visit: Visit, problem: str, *, status: int) -> web.Response:
    return visit.keep(answer("sign_in.html", visit.values, status=status, problem=problem))


def answer(template: str, values: Mapping[str, Any], /, *, status: int = 200, **more: Any) -> web.Response:
    """Return a page made from a template, with the headers of every page."""
    text = templates().get_template(template).render(**values, **more)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


async def _in_time(page: Awaitable[web.Response], *, is_get: bool) -> web.Response:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await page
    except ResponseError as error:
        trouble = trouble_of(error)
        return _message(503, trouble.text, f"{trouble.fix}. Then reload the page.")
    except (RedisError, TimeoutError, OSError):
        if not is_get:
            # A reload would send the form again.
            return _message(503, "Redis does not answer", "The action may have been done. Check it on the overview.")
        waiting = _message(503, "Redis does not answer", "This page needs Redis. It reloads until Redis answers.")
        waiting.headers["Refresh"] = str(RELOAD_SECONDS)
        return waiting


def _message(status: int, title: str, text: str) -> web.Response:
    return answer("message.html", {"token": "", "is_operator": False}, status=status, title=title, text=text)


def _see_other() -> web.Response:
    return web.Response(status=303, headers={**HEADERS, "Location": "/"})
