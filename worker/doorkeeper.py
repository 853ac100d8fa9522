"""Who gets to see a page: the password or the same machine, a form that is ours, and what answers say to browsers.

Without OPERATOR_PASSWORD the page can only be read, and only on the machine itself: from its loopback interface, by one
of its names, and through no proxy, since one on the same machine would make everybody look local.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

import structlog
from aiohttp import HttpVersion11, web
from redis.exceptions import RedisError

from worker.rendering import templates
from worker.sessions import GUEST, MINUTE_SECONDS, OPERATOR, SESSION_SECONDS, Session, Sessions, Tries

log = structlog.get_logger(__name__)

COOKIE: Final = "customer-sync-session"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
"""What browsers send our forms as; no other kind is read."""
ANSWER_SECONDS: Final = 20.0
"""Nobody waits longer for a page, whatever Redis and the services do."""
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer: a browser would then send forms without saying that they come from here.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}

Plain = Callable[[web.Request], Awaitable[web.Response]]
Page = Callable[[web.Request, Session, Mapping[str, Any]], Awaitable[web.Response]]


class Doorkeeper:
    """Lets in, or not."""

    def __init__(self, sessions: Sessions, tries: Tries) -> None:
        """Opens nothing."""
        self._sessions = sessions
        self._tries = tries

    def guard(self, page: Page, *, acts: bool = False) -> Plain:
        """The page for who may see it, and, where it `acts`, for who gave the password. A POST has to be our form's."""

        async def handle(request: web.Request) -> web.Response:
            session = self._session_of(request)
            refusal = self._refusal(request, session, acts=acts)
            if refusal is not None:
                return refusal
            if request.method == "POST" and not await self._is_ours(request, session):
                log.warning("form_refused")
                return _message(403, "This form is not from here", "Go back to the page, load it again, and repeat it.")
            shown = await _in_time(page(request, session, self._values(session)))
            return self._keep(request, shown, session)

        return handle

    async def sign_in(self, request: web.Request) -> web.Response:
        """POST /sign-in: the password for a session of its own."""
        session = self._session_of(request)
        if not self._sessions.has_password or not await self._is_ours(request, session):
            return _message(403, "This form is not from here", "Load the page again, and repeat it.")
        return await _in_time(self._try(request, session))

    async def _try(self, request: web.Request, session: Session) -> web.Response:
        if not await self._tries.may_try():
            log.warning("sign_in_held_up")
            held = self._sign_in_page(request, session, "Too many tries. Wait a minute, then try again.", status=429)
            held.headers["Retry-After"] = str(MINUTE_SECONDS)
            return held
        form = await request.post()
        if not self._sessions.is_password(str(form.get("password", ""))):
            log.warning("sign_in_refused")
            return self._sign_in_page(request, session, "This is not the password.", status=403)
        await self._tries.forget()
        log.info("signed_in")
        return self._keep(request, _see_other(), self._sessions.begin(OPERATOR))

    async def sign_out(self, request: web.Request, _: Session, values: Mapping[str, Any]) -> web.Response:
        """POST /sign-out."""
        del request, values
        log.info("signed_out")
        gone = _see_other()
        gone.del_cookie(COOKIE, path="/")
        return gone

    def _session_of(self, request: web.Request) -> Session:
        return self._sessions.read(request.cookies.get(COOKIE, "")) or self._sessions.begin(GUEST)

    def _refusal(self, request: web.Request, session: Session, *, acts: bool) -> web.Response | None:
        """The answer for who may not come in; None for who may."""
        if self._sessions.has_password:
            if session.is_operator:
                return None
            return self._sign_in_page(request, session, "", status=200 if request.method == "GET" else 403)
        if not _is_local(request):
            text = "Set OPERATOR_PASSWORD, of 12 characters at least, and start the worker again: then this page opens."
            return _message(403, "This page is closed", text)
        return _message(403, "This page can only be read", "Acting needs OPERATOR_PASSWORD.") if acts else None

    def _sign_in_page(self, request: web.Request, session: Session, problem: str, *, status: int) -> web.Response:
        page = answer("sign_in.html", self._values(session), status=status, problem=problem)
        return self._keep(request, page, session)

    def _values(self, session: Session) -> Mapping[str, Any]:
        return {"token": self._sessions.token(session), "is_operator": session.is_operator}

    async def _is_ours(self, request: web.Request, session: Session) -> bool:
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return False
        if request.content_type != FORM_TYPE:
            return False
        try:
            form = await request.post()
        except (LookupError, ValueError, OSError):
            # Of an encoding that there is not, not of the one it says, or cut short.
            return False
        return self._sessions.is_token(session, str(form.get("token", "")))

    def _keep(self, request: web.Request, page: web.Response, session: Session) -> web.Response:
        """The answer, with the session where the browser has not got it yet."""
        if request.cookies.get(COOKIE) != self._sessions.cookie(session) and COOKIE not in page.cookies:
            # A header that lies only spoils the cookie of whoever sent it.
            is_secure = request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
            page.set_cookie(
                COOKIE,
                self._sessions.cookie(session),
                path="/",
                max_age=SESSION_SECONDS,
                httponly=True,
                samesite="Strict",
                secure=is_secure,
            )
        return page


def answer(template: str, values: Mapping[str, Any], /, *, status: int = 200, **more: Any) -> web.Response:
    """A page made of a template, with what every page says to browsers."""
    text = templates().get_template(template).render(**values, **more)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


async def _in_time(page: Awaitable[web.Response]) -> web.Response:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await page
    except (RedisError, TimeoutError, OSError):
        return _message(
            503, "Redis does not answer", "Nothing can be shown or done until it does. Load the page again."
        )


def _message(status: int, title: str, text: str) -> web.Response:
    return answer("message.html", {"token": "", "is_operator": False}, status=status, title=title, text=text)


def _see_other() -> web.Response:
    return web.Response(status=303, headers={**HEADERS, "Location": "/"})


def _is_local(request: web.Request) -> bool:
    """Whether the asker sits on this machine, and means it by name: a page of elsewhere may bend its name to here."""
    # Browsers have not spoken HTTP/1.0 for long; nginx does to what is behind it, and says nothing else of itself.
    if request.version < HttpVersion11 or any(header in request.headers for header in PROXY_HEADERS):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    return peer is not None and ip_address(peer[0]).is_loopback and name in LOCAL_NAMES
