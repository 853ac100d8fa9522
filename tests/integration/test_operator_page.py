"""The operator's page by HTTP: who gets in, what a form has to carry, what is done, and what nobody gets to see."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import ClientSession, DummyCookieJar

from tests.conftest import World, read_dead
from tests.integration.browser import Browser, browsing
from tests.integration.steps import seed
from tests.operator import HOSTILE, bury, operator_page
from worker.sessions import TRIES_A_MINUTE

ACTIONS = ("/dead-letters", "/dead-letters/replay", "/dead-letters/drop")


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as browser:
        yield browser


@pytest.fixture
async def operator(stranger: Browser) -> Browser:
    await stranger.sign_in()
    return stranger


async def test_a_stranger_sees_a_form_and_nothing_else(world: World, stranger: Browser) -> None:
    await bury(world, "user_secret")
    status, text, _ = await stranger.get()
    assert status == 200
    assert "The operator&#39;s password" in text or "The operator's password" in text
    assert "user_secret" not in text


@pytest.mark.parametrize("path", ["/customer", *ACTIONS, "/sign-out"])
async def test_a_stranger_can_do_nothing(world: World, stranger: Browser, path: str) -> None:
    await bury(world, "user_secret")
    (letter,) = await read_dead(world.redis)
    status, text = await stranger.send(path, customer="user_secret", letter=letter["id"])
    assert status == 403
    assert "user_secret" not in text
    assert len(await read_dead(world.redis)) == 1


async def test_the_password_opens_the_page_and_signing_out_closes_it(stranger: Browser) -> None:
    status, text = await stranger.sign_in()
    assert status == 200
    assert "Everything is all right." in text
    await stranger.send("/sign-out")
    assert "Sign in" in (await stranger.get())[1]


async def test_wrong_passwords_are_held_up_over_all_workers_and_the_signed_in_are_not(world: World) -> None:
    async with browsing(world) as first, browsing(world) as second, browsing(world) as third:
        await third.sign_in()
        for _ in range(TRIES_A_MINUTE):
            assert (await first.sign_in("wrong password"))[0] == 403
        status, text = await second.sign_in()
        assert status == 429
        assert "Wait a minute" in text
        assert "Everything is all right." in (await third.get())[1]
        await world.redis.delete("customer-sync:sign-in:tries")
        assert (await second.sign_in())[0] == 200


async def test_the_count_of_tries_ends_by_itself(world: World, stranger: Browser) -> None:
    await stranger.sign_in("wrong password")
    assert 0 < await world.redis.ttl("customer-sync:sign-in:tries") <= 60


async def test_the_cookie_is_kept_from_scripts_from_other_sites_and_from_plain_http_behind_tls(world: World) -> None:
    async with browsing(world) as browser:
        _, _, plain = await browser.get()
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(plain["Set-Cookie"].split("; "))
        assert "Secure" not in plain["Set-Cookie"]
    async with browsing(world) as browser:
        _, _, behind_tls = await browser.get({"X-Forwarded-Proto": "https"})
        assert "Secure" in behind_tls["Set-Cookie"].split("; ")


async def test_signing_in_begins_a_new_session(stranger: Browser) -> None:
    before = await stranger.token()
    await stranger.sign_in()
    assert await stranger.token() != before


@pytest.mark.parametrize("path", [*ACTIONS, "/customer", "/sign-out"])
@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_a_form_without_our_token_is_refused(world: World, operator: Browser, path: str, token: str) -> None:
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
async def test_a_form_that_cannot_be_read_is_refused_like_one_of_another_site(
    operator: Browser, caplog: pytest.LogCaptureFixture, path: str, kind: str, body: bytes
) -> None:
    status, text = await operator.post(path, body, {"Content-Type": kind})
    assert (status, "This form is not from here" in text) == (403, True)
    assert "ann@example" not in caplog.text


async def test_a_form_that_another_site_sent_is_refused_even_with_our_token(operator: Browser) -> None:
    fields = {"token": await operator.token(), "customer": "ann"}
    assert (await operator.post("/customer", fields, {"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await operator.post("/customer", fields, {"Sec-Fetch-Site": "same-origin"}))[0] == 200


@pytest.mark.parametrize("path", [*ACTIONS, "/customer", "/sign-in", "/sign-out"])
async def test_nothing_is_done_by_an_address_alone(operator: Browser, path: str) -> None:
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


async def test_no_form_sends_an_id_in_an_address(world: World, operator: Browser) -> None:
    await bury(world, "user_7")
    _, text, _ = await operator.get()
    assert set(re.findall(r"<form method=\"(\w+)\"", text)) == {"post"}
    addresses = re.findall(r'(?:href|action|src)="([^"]*)"', text)
    assert addresses
    assert all("user_7" not in address and "?" not in address for address in addresses)


async def test_every_answer_tells_browsers_to_trust_nothing_else(operator: Browser) -> None:
    _, text, headers = await operator.get()
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script>|<style>|\sstyle=|\son\w+=", text)


async def test_without_a_password_the_machine_itself_may_read_and_nobody_may_act(world: World) -> None:
    await bury(world, "user_7")
    (letter,) = await read_dead(world.redis)
    async with browsing(world, None) as browser:
        status, text, _ = await browser.get()
        assert (status, "user_7" in text) == (200, True)
        assert "Send the chosen again" not in text
        assert (await browser.send("/customer", customer="user_7"))[0] == 200
        for path in ACTIONS:
            assert (await browser.send(path, letter=letter["id"]))[0] == 403
        assert (await browser.send("/sign-in", password=""))[0] == 403
    assert len(await read_dead(world.redis)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "attacker.example"},
        {"Host": "localhost.attacker.example:80"},
    ],
)
async def test_without_a_password_nobody_reads_through_a_proxy_or_by_a_bent_name(
    world: World, headers: Mapping[str, str]
) -> None:
    async with browsing(world, None) as browser:
        status, text, _ = await browser.get(headers)
        assert (status, "OPERATOR_PASSWORD" in text) == (403, True)


async def test_without_a_password_a_proxy_that_says_nothing_of_itself_is_told_by_its_old_protocol(world: World) -> None:
    async with operator_page(world, None) as url:
        for version, status in (("1.1", b"200"), ("1.0", b"403")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(f"GET / HTTP/{version}\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n".encode())
            assert status in await reader.readline()
            writer.close()
            await writer.wait_closed()


async def test_cookies_that_are_not_ours_are_strangers(world: World) -> None:
    async with operator_page(world) as url, ClientSession(cookie_jar=DummyCookieJar()) as http:
        for cookie in ("operator.9999999999.x.y", "", "%00", "a.b.c"):
            async with http.get(url, headers={"Cookie": f"customer-sync-session={cookie}"}) as answer:
                assert "Sign in" in await answer.text()


async def test_only_the_pages_own_files_are_served(stranger: Browser) -> None:
    for path, status in (("/static/page.css", 200), ("/static/operator.js", 200), ("/static/..%2Fweb.py", 404)):
        async with stranger.http.get(stranger.url + path) as answer:
            assert answer.status == status
