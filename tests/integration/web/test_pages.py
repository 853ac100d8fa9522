"""The operator's page over HTTP: sign-in, form tokens, rights, and security headers."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, DummyCookieJar
from yarl import URL

from jobs.enqueue import send
from jobs.events import new_update
from tests.conftest import PREFIX, World, read_dead
from tests.support.browser import Browser, browsing
from tests.support.operator import HOSTILE, PASSWORD, bury, operator_page
from tests.support.steps import seed
from worker.web.access import COOKIE
from worker.web.credentials import TRIES_A_MINUTE, Credentials
from worker.web.sessions import OPERATOR, Session

TRIES_KEY = f"{PREFIX}:sign-in:wrong"
ACTIONS = ("/dead-letters", "/dead-letters/replay", "/dead-letters/drop")


@pytest.fixture
async def visitor(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as browser:
        yield browser


@pytest.fixture
async def operator(visitor: Browser) -> Browser:
    await visitor.sign_in()
    return visitor


async def test_signed_out_visitor_sees_only_the_form(world: World, visitor: Browser) -> None:
    await bury(world, "user_secret")
    status, text, _ = await visitor.get()
    assert status == 200
    assert "The operator&#39;s password" in text or "The operator's password" in text
    assert "user_secret" not in text


@pytest.mark.parametrize("path", ["/customer", *ACTIONS, "/sign-out"])
async def test_signed_out_visitor_can_do_nothing(world: World, visitor: Browser, path: str) -> None:
    await bury(world, "user_secret")
    (letter,) = await read_dead(world.redis)
    status, text = await visitor.send(path, customer="user_secret", letter=letter["id"])
    assert status == 403
    assert "user_secret" not in text
    assert len(await read_dead(world.redis)) == 1


async def test_password_opens_the_page_and_sign_out_closes_it(visitor: Browser) -> None:
    status, text = await visitor.sign_in()
    assert status == 200
    assert "Everything is all right." in text
    await visitor.send("/sign-out")
    assert "Sign in" in (await visitor.get())[1]


async def test_wrong_passwords_are_limited_over_all_workers(world: World) -> None:
    async with browsing(world) as first, browsing(world) as second, browsing(world) as third:
        await third.sign_in()
        for _ in range(TRIES_A_MINUTE):
            assert (await first.sign_in("wrong password"))[0] == 403
        status, text = await second.sign_in()
        assert status == 429
        assert "Wait a minute" in text
        assert "Everything is all right." in (await third.get())[1]
        await world.redis.delete(TRIES_KEY)
        assert (await second.sign_in())[0] == 200


async def test_five_of_many_simultaneous_passwords_are_checked(world: World) -> None:
    async with browsing(world) as first, browsing(world) as second:
        forms = [
            (each, {"token": await each.token(), "password": f"wrong {n}"})
            for n in range(20)
            for each in (first, second)
        ]
        answers = await asyncio.gather(*(each.post("/sign-in", form) for each, form in forms))
        assert sum(status == 403 for status, _ in answers) <= TRIES_A_MINUTE
        assert {status for status, _ in answers} <= {403, 429}


async def test_right_password_does_not_reset_failed_attempts(world: World) -> None:
    async with browsing(world) as first, browsing(world) as second:
        for _ in range(TRIES_A_MINUTE - 1):
            await first.sign_in("wrong password")
        assert (await second.sign_in())[0] == 200
        assert (await first.sign_in("wrong password"))[0] == 403
        assert (await first.sign_in("wrong password"))[0] == 429


async def test_attempt_count_expires(world: World, visitor: Browser) -> None:
    await visitor.sign_in("wrong password")
    assert 0 < await world.redis.ttl(TRIES_KEY) <= 60
    seconds, _ = await world.redis.time()
    await world.redis.zadd(TRIES_KEY, {f"old {n}": (seconds - 61) * 1000 for n in range(9)})
    assert (await visitor.sign_in("wrong password"))[0] == 403


async def test_cookie_is_httponly_samesite_and_secure_behind_tls(world: World) -> None:
    async with browsing(world) as browser:
        _, _, plain = await browser.get()
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(plain["Set-Cookie"].split("; "))
        assert "Secure" not in plain["Set-Cookie"]
    async with browsing(world) as browser:
        _, _, behind_tls = await browser.get({"X-Forwarded-Proto": "https"})
        assert "Secure" in behind_tls["Set-Cookie"].split("; ")


async def test_sign_in_starts_a_new_session(visitor: Browser) -> None:
    before = await visitor.token()
    await visitor.sign_in()
    assert await visitor.token() != before


@pytest.mark.parametrize("path", [*ACTIONS, "/customer", "/sign-out"])
@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_form_without_our_token_is_refused(world: World, operator: Browser, path: str, token: str) -> None:
    await bury(world, "user_7")
    (letter,) = await read_dead(world.redis)
    assert (await operator.post(path, {"token": token, "letter": letter["id"], "customer": "user_7"}))[0] == 403
    assert len(await read_dead(world.redis)) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded; charset=ann@example.com", b"token=x"),
        ("application/x-www-form-urlencoded; charset=base64", b"token=x"),
        ("application/x-www-form-urlencoded", b"token=\xff"),
        ("multipart/form-data", b"token=x"),
        ("multipart/form-data; boundary=a", b"no part at all"),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="token"\r\n'
            b"Content-Type: text/plain; charset=ann@example.com\r\n\r\nx\r\n--a--\r\n",
        ),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="token"\r\n'
            b"Content-Transfer-Encoding: ann@example.com\r\n\r\nx\r\n--a--\r\n",
        ),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--\r\n"),
        (
            "multipart/form-data; boundary=a",
            b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a--\r\n",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/customer"])
async def test_unreadable_form_is_refused_like_a_cross_site_form(
    operator: Browser, caplog: pytest.LogCaptureFixture, path: str, kind: str, body: bytes
) -> None:
    status, text = await operator.post(path, body, {"Content-Type": kind})
    assert (status, "This form is not valid" in text) == (403, True)
    assert "ann@example" not in caplog.text


async def test_cross_site_form_is_refused_even_with_our_token(operator: Browser) -> None:
    fields = {"token": await operator.token(), "customer": "ann"}
    assert (await operator.post("/customer", fields, {"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await operator.post("/customer", fields, {"Sec-Fetch-Site": "same-origin"}))[0] == 200


@pytest.mark.parametrize("path", [*ACTIONS, "/customer", "/sign-in", "/sign-out"])
async def test_get_request_changes_nothing(operator: Browser, path: str) -> None:
    async with operator.http.get(operator.url + path) as answer:
        assert answer.status == 405


async def test_hostile_ids_names_and_events_are_text(world: World, operator: Browser) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"]["name"] = HOSTILE.replace("\x00", "")
    await world.redis.xadd("customer-updates", {"customer_id": HOSTILE, "changes": HOSTILE, HOSTILE: HOSTILE})
    await world.run()
    for _, text in (
        (0, (await operator.get())[1]),
        await operator.send("/customer", customer=HOSTILE, live="on"),
        await operator.send("/customer", customer="ann", live="on"),
    ):
        assert "<img" not in text
        assert not set(text) & {"\u202e", "\x00"}


async def test_dead_letter_shows_the_source_of_its_event(world: World, operator: Browser) -> None:
    await send(world.redis, new_update(customer_id="ann", changes={"name": "Ann"}, source="<shop>"))
    await world.run()
    _, text, _ = await operator.get()
    assert "from <bdi>&lt;shop&gt;</bdi>" in text


async def test_no_form_sends_an_id_in_a_url(world: World, operator: Browser) -> None:
    await bury(world, "user_7")
    _, text, _ = await operator.get()
    assert set(re.findall(r"<form method=\"(\w+)\"", text)) == {"post"}
    addresses = re.findall(r'(?:href|action|src)="([^"]*)"', text)
    assert addresses
    assert all("user_7" not in address and "?" not in address for address in addresses)


async def test_every_response_has_security_headers(operator: Browser) -> None:
    _, text, headers = await operator.get()
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script>|<style>|\sstyle=|\son\w+=", text)


async def test_logged_token_is_read_only_without_a_password(world: World) -> None:
    await bury(world, "user_7")
    (letter,) = await read_dead(world.redis)
    async with browsing(world, None) as browser:
        assert await browser.open_with_token() == 200
        status, text, _ = await browser.get()
        assert (status, "user_7" in text) == (200, True)
        assert "Send selected again" not in text
        assert (await browser.send("/customer", customer="user_7"))[0] == 200
        for path in ACTIONS:
            assert (await browser.send(path, letter=letter["id"]))[0] == 403
        assert (await browser.send("/sign-in", password=""))[0] == 403
    assert len(await read_dead(world.redis)) == 1


async def test_token_session_is_valid_on_all_workers(world: World) -> None:
    async with browsing(world, None) as first, browsing(world, None) as second:
        await first.open_with_token()
        async with first.http.get(second.url) as answer:
            assert "Everything is all right." in await answer.text()
        second.access_token = first.access_token
        assert await second.open_with_token() == 403


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=%ED%A0%80", "?token=" + "x" * 4000])
async def test_nobody_reads_without_password_and_token(world: World, query: str) -> None:
    await bury(world, "user_7")
    async with browsing(world, None) as browser, browser.http.get(f"{browser.url}/{query}") as answer:
        text = await answer.text()
        assert (answer.status, "page_token_issued" in text, "user_7" in text) == (403, True, False)
        assert (await browser.post("/customer", {"customer": "user_7"}))[0] == 403


async def test_with_a_password_a_token_opens_nothing(world: World) -> None:
    async with browsing(world) as browser:
        assert browser.access_token == ""
        async with browser.http.get(f"{browser.url}/?token=") as answer:
            assert "Sign in" in await answer.text()


async def test_setting_a_password_ends_reader_sessions(world: World) -> None:
    async with browsing(world, None) as reader, browsing(world) as browser:
        await reader.open_with_token()
        async with reader.http.get(browser.url) as answer:
            assert "Sign in" in await answer.text()


async def test_session_older_than_the_password_stays_without_rights(world: World) -> None:
    async with browsing(world) as victim, ClientSession(cookie_jar=DummyCookieJar()) as attacker:
        async with attacker.get(victim.url) as answer:
            planted = answer.cookies[COOKIE].value
        victim.http.cookie_jar.update_cookies({COOKIE: planted}, URL(victim.url))
        await victim.sign_in()
        assert "Everything is all right." in (await victim.get())[1]
        async with attacker.get(victim.url, headers={"Cookie": f"{COOKIE}={planted}"}) as answer:
            assert "Sign in" in await answer.text()


async def test_session_ends_after_twelve_hours_despite_use(world: World) -> None:
    async with browsing(world) as browser:
        await browser.sign_in()
        _, _, headers = await browser.get()
        assert "Set-Cookie" not in headers, "the end is not put off"
        sessions = await Credentials(world.redis, PREFIX, password=PASSWORD, token="", read_seconds=60).sessions()
        over = sessions.cookie(Session(OPERATOR, int(time.time()), "id"))
        lasting = sessions.cookie(sessions.begin(OPERATOR))
        for cookie, is_in in ((over, False), (lasting, True)):
            browser.http.cookie_jar.update_cookies({COOKIE: cookie}, URL(browser.url))
            assert ("Everything is all right." in (await browser.get())[1]) is is_in


async def test_deleting_the_signing_key_ends_all_sessions(world: World) -> None:
    async with browsing(world) as browser:
        await browser.sign_in()
        assert await world.redis.delete("customer-sync:sign-in:key") == 1
        assert "Sign in" in (await browser.get())[1]
        assert "Everything is all right." in (await browser.sign_in())[1]


async def test_foreign_cookies_are_signed_out(world: World) -> None:
    async with operator_page(world) as url, ClientSession(cookie_jar=DummyCookieJar()) as http:
        for cookie in ("operator.9999999999.x.y", "", "%00", "a.b.c"):
            async with http.get(url, headers={"Cookie": f"customer-sync-session={cookie}"}) as answer:
                assert "Sign in" in await answer.text()


async def test_only_own_static_files_are_served(visitor: Browser) -> None:
    for path, status in (("/static/page.css", 200), ("/static/operator.js", 200), ("/static/..%2Fweb.py", 404)):
        async with visitor.http.get(visitor.url + path) as answer:
            assert answer.status == status
