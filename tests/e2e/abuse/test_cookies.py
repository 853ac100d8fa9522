"""Cookies of the page against an attacker: they reveal no password, expire, and cannot be planted."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar
from itsdangerous import base64_decode, base64_encode
from redis.asyncio import Redis

from sandbox.everything import Sandbox
from tests.conftest import PREFIX
from tests.support.browser import Browser
from tests.support.busy import attacked_box
from tests.support.operator import PASSWORD
from tests.support.watching import watched
from worker.web.access import COOKIE
from worker.web.credentials import Credentials, derived
from worker.web.sessions import OPERATOR, SESSION_SECONDS, Session, Sessions

SALT_ONCE = b"autumn-stripe-sync operator's sessions"
"""The salt of a key that was derived from the password alone."""
KEYS_OF_A_GUESS: dict[str, Callable[[bytes], bytes]] = {
    "as it once was": lambda guess: hashlib.scrypt(guess, salt=SALT_ONCE, n=2**14, r=8, p=1, dklen=32),
    "as it is, without the key in Redis": lambda guess: derived(b"", guess.decode()),
    "a digest": lambda guess: hashlib.sha256(guess).digest(),
    "the password itself": lambda guess: guess,
}
FORM = 'name="password"'


@asynccontextmanager
async def opened(environment: dict[str, str], password: str = PASSWORD) -> AsyncIterator[Browser]:
    """Run a worker with this password; yield a browser without cookies."""
    async with (
        watched({**environment, "OPERATOR_PASSWORD": password}) as one,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http, one.url)


def cookie_of(browser: Browser) -> str:
    (kept,) = [each for each in browser.http.cookie_jar if each.key == COOKIE]
    return kept.value


async def is_let_in(browser: Browser, cookie: str) -> bool:
    """Return whether the page opens with this cookie alone."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:
        status, text, _ = await Browser(http, browser.url).get({"Cookie": f"{COOKIE}={cookie}"})
    assert status == 200
    return FORM not in text


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with attacked_box() as everything:
        yield everything


@pytest.mark.parametrize("derive", KEYS_OF_A_GUESS.values(), ids=KEYS_OF_A_GUESS.keys())
async def test_stolen_cookie_does_not_confirm_a_password_guess(box: Sandbox, derive: Callable[[bytes], bytes]) -> None:
    async with opened(box.environment) as browser, Redis.from_url(box.redis.url) as redis:
        await browser.get()
        cookie = cookie_of(browser)
        key = derive(PASSWORD.encode())
        said, _, signature = cookie.rpartition(".")
        plain = hmac.new(key, f"session:{said}".encode(), hashlib.sha256)
        assert signature not in {plain.hexdigest(), base64_encode(plain.digest()).decode()}
        assert Sessions(key).read(cookie) is None
        # With the random key from Redis the same guess verifies, so only that key was missing.
        with_redis = await Credentials(redis, PREFIX, password=PASSWORD, token="", read_seconds=60).sessions()
        assert with_redis.read(cookie) is not None


async def test_session_outlives_a_restart_and_ends_with_the_password(box: Sandbox) -> None:
    async with opened(box.environment) as browser:
        await browser.sign_in()
        cookie = cookie_of(browser)
        assert await is_let_in(browser, cookie)
    async with opened(box.environment) as browser:
        assert await is_let_in(browser, cookie)
    async with opened(box.environment, "another password") as browser:
        assert not await is_let_in(browser, cookie)


async def test_deleting_the_key_ends_every_session_at_once(box: Sandbox) -> None:
    async with opened(box.environment) as browser, Redis.from_url(box.redis.url) as redis:
        await browser.sign_in()
        cookie = cookie_of(browser)
        await redis.delete(f"{PREFIX}:sign-in:key")
        assert not await is_let_in(browser, cookie)


async def test_expired_session_does_not_open_the_page(box: Sandbox) -> None:
    async with opened(box.environment) as browser, Redis.from_url(box.redis.url) as redis:
        await browser.get()
        sessions = await Credentials(redis, PREFIX, password=PASSWORD, token="", read_seconds=60).sessions()
        now = int(time.time())
        over, valid = (Session(OPERATOR, now + seconds, "id") for seconds in (-1, 600))
        assert await is_let_in(browser, sessions.cookie(valid))
        assert not await is_let_in(browser, sessions.cookie(over))
        said, _, signature = sessions.cookie(over).rpartition(".")
        role, _, session_id = json.loads(base64_decode(said))
        longer = base64_encode(json.dumps([role, now + 600, session_id], separators=(",", ":"))).decode()
        assert not await is_let_in(browser, f"{longer}.{signature}")


async def test_sign_in_starts_another_session(box: Sandbox) -> None:
    async with opened(box.environment) as browser:
        planted, form_before = (await browser.get())[2], await browser.token()
        before = cookie_of(browser)
        assert SimpleCookie(planted["Set-Cookie"])[COOKIE].value == before
        await browser.sign_in()
        assert cookie_of(browser) != before
        assert await browser.token() != form_before
        # The earlier cookie, if an attacker planted it, gives no access to the new session.
        assert not await is_let_in(browser, before)
        status, _ = await browser.post("/sign-out", {"token": form_before})
        assert status == 403


@pytest.mark.parametrize(("proto", "is_secure"), [("https", True), ("http", False)])
async def test_cookie_states_its_scope_and_lifetime(box: Sandbox, proto: str, is_secure: bool) -> None:
    async with opened(box.environment) as browser:
        _, _, headers = await browser.get({"X-Forwarded-Proto": proto})
        cookie = SimpleCookie(headers["Set-Cookie"])[COOKIE]
        assert bool(cookie["secure"]) is is_secure
        assert (cookie["max-age"], cookie["path"]) == (str(SESSION_SECONDS), "/")
        assert (bool(cookie["httponly"]), cookie["samesite"]) == (True, "Strict")
