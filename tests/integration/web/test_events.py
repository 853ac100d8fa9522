"""POST /v1/events: what is accepted, what is refused with which answer, and what Redis has then."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from jobs.events import CHANGES_MAX_BYTES, read_entry
from jobs.queue.dead_letters import DeadLetters
from jobs.queue.record import as_text
from tests.conftest import INBOX, PREFIX, World
from tests.support.intake import CRM, SHOP, SHOP_NEXT, Port, bearer, intake_port
from tests.support.processes import free_port, its_disk_fails, its_disk_works, wait_until
from tests.support.raw import exchange, port_of, status_of
from worker.web.api.bodies import EVENTS_AT_MOST, FAULTS_AT_MOST
from worker.web.api.events import BODIES_AT_MOST, BODY_BYTES, DISCARDED_AT_MOST, DOCUMENT_PATH, PATH
from worker.web.server import FORM_BYTES

ANN = {"customer_id": "ann", "changes": {"email": "ann@hidden.example"}}
SIGNUP = {**ANN, "event_id": "signup-42"}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def entries_of(redis: Redis) -> list[dict[str, str]]:
    return [as_text(fields) for _, fields in await redis.xrange(INBOX)]


async def test_accepted_event_is_in_the_inbox_with_its_source(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.post({**SIGNUP, "traceparent": TRACEPARENT})
    assert (answer.status, answer.body) == (202, {"ids": ["signup-42"]})
    assert answer.headers["Content-Type"] == "application/json"
    assert await entries_of(redis) == [
        {
            "customer_id": "ann",
            "type": "customer.updated",
            "changes": '{"email":"ann@hidden.example"}',
            "event_id": "signup-42",
            "traceparent": TRACEPARENT,
            "source": "shop",
        }
    ]


async def test_list_is_added_in_order_and_answered_with_the_ids(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.post([SIGNUP, ANN, {"customer_id": "bob", "type": "customer.reconcile"}])
    entries = await redis.xrange(INBOX)
    assert answer.body == {"ids": ["signup-42", entries[1][0].decode(), entries[2][0].decode()]}
    assert [read_entry(fields).customer_id for _, fields in entries] == ["ann", "ann", "bob"]


@pytest.mark.parametrize(("token", "source"), [(SHOP, "shop"), (SHOP_NEXT, "shop"), (CRM, "crm")])
async def test_name_of_the_token_wins_over_the_source_of_the_event(redis: Redis, token: str, source: str) -> None:
    async with intake_port(redis) as port:
        assert (await port.post({**ANN, "source": "billing"}, token=token)).status == 202
    assert [entry["source"] for entry in await entries_of(redis)] == [source]


async def test_source_of_a_dead_letter_is_known(world: World) -> None:
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
    await world.run()
    letters = DeadLetters(world.redis, inbox=INBOX, prefix=PREFIX)
    ((letter,),) = [page async for page in letters.pages()]
    assert (letter.source, letter.summary()["source"], letter.reason) == ("shop", "shop", "customer_not_found")


@pytest.mark.parametrize(
    ("events", "fields"),
    [
        (
            {"customer_id": "ann", "changes": {"emial": "ann@hidden.example"}},
            [(0, "changes.emial", "unknown field (did you mean email?)")],
        ),
        (
            [ANN, {"customer_id": "a b", "changes": {"name": 5}}, {"changes": {"name": "Ann"}}],
            [
                (1, "customer_id", "may contain only letters, digits, _, : and -"),
                (1, "changes.name", "must be a string"),
                (2, "customer_id", "is missing"),
            ],
        ),
        ([ANN, {"customer_id": "ann"}], [(1, "changes", "must contain at least one field for customer.updated")]),
        ([ANN, "ann", None], [(1, "", "must be a JSON object"), (2, "", "must be a JSON object")]),
        ({**ANN, "changes": json.dumps(ANN["changes"])}, [(0, "changes", "must be a JSON object")]),
        ({**ANN, "urgency": "high"}, [(0, "urgency", "unknown field")]),
        ({**ANN, "source": ""}, [(0, "source", "is empty")]),
        (5, [(0, "", "must be a JSON object")]),
        ([], []),
    ],
)
async def test_invalid_events_are_refused_with_every_fault(
    redis: Redis, events: Any, fields: list[tuple[int, str, str]]
) -> None:
    async with intake_port(redis) as port:
        answer = await port.post(events)
    assert (answer.status, answer.body["error"]) == (400, "invalid_events")
    assert [(each["entry"], each["field"], each["message"]) for each in answer.body["fields"]] == fields
    assert answer.body["message"].startswith("Nothing was accepted")
    assert "hidden" not in str(answer.body)
    assert await redis.keys("*") == []


async def test_changes_over_their_limit_are_refused(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.post([ANN, {**ANN, "changes": {"name": "x" * CHANGES_MAX_BYTES}}])
    assert answer.status == 400
    assert [(each["entry"], each["field"]) for each in answer.body["fields"]] == [(1, "changes")]
    assert await redis.exists(INBOX) == 0


async def test_number_of_listed_faults_is_bounded(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.post([{f"field_{number}": 1 for number in range(150)}] * 20)
    assert (answer.status, len(answer.body["fields"])) == (400, FAULTS_AT_MOST)
    assert answer.body["message"].endswith("More may be wrong than is listed.")


@pytest.mark.parametrize(
    "raw", [b"", b"not json", b"\xff\xfe", b'{"customer_id": NaN}', b"[" * 100_000, b'{"customer_id": "ann"} {}']
)
async def test_body_that_is_not_json_is_refused(redis: Redis, raw: bytes) -> None:
    async with intake_port(redis) as port:
        answer = await port.post(None, raw=raw)
    assert (answer.status, answer.body["error"]) == (400, "invalid_json")
    assert answer.body["message"].startswith("The body is ")
    assert await redis.keys("*") == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("another-token-0123456789"),
        bearer("shop"),
        bearer(f"shop:{SHOP}"),
        bearer(SHOP[:-1]),
        {"Authorization": SHOP},
        {"Authorization": f"Basic {SHOP}"},
        {"Authorization": f"Bearer {SHOP} {CRM}"},
        {"Authorization": "Bearer \u00e4"},
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/signup-42", f"{PATH}/"])
async def test_request_without_a_valid_token_is_refused(redis: Redis, headers: dict[str, str], path: str) -> None:
    async with intake_port(redis) as port:
        for method in ("POST", "GET", "DELETE"):
            async with port.http.request(method, port.url + path, headers=headers, json=ANN) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert (await answer.json())["error"] == "unauthorized"
    assert await redis.keys("*") == []


async def test_scheme_of_the_header_has_any_case(redis: Redis) -> None:
    async with intake_port(redis) as port:
        headers = {"Authorization": f"bearer {SHOP}"}
        async with port.http.post(port.url + PATH, headers=headers, json=ANN) as answer:
            assert answer.status == 202


async def test_large_body_is_read_only_with_a_token(redis: Redis) -> None:
    async with intake_port(redis) as port:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {FORM_BYTES + 1}\r\n\r\n".encode()
        answer = await exchange(port_of(port.url), head)
        assert (status_of(answer), b"unauthorized" in answer) == (401, True), "it does not wait for the body"


async def test_too_many_events_or_bytes_are_refused(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.post([ANN] * (EVENTS_AT_MOST + 1))
        assert (answer.status, answer.body["error"]) == (413, "too_large")
        for size in (BODY_BYTES + 1, DISCARDED_AT_MOST):
            async with httpx.AsyncClient(headers=bearer(SHOP), timeout=60) as client:
                refused = await client.post(port.url + PATH, content=b" " * size)
            assert (refused.status_code, refused.json()["error"]) == (413, "too_large")
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\n"
        raw = await exchange(port_of(port.url), f"{head}Content-Length: {DISCARDED_AT_MOST + 1}\r\n\r\n".encode())
        assert (status_of(raw), b"too_large" in raw) == (413, True)
        assert await redis.exists(INBOX) == 0
        full = json.dumps([{**ANN, "changes": {"name": "x" * 900}}] * EVENTS_AT_MOST).encode().ljust(BODY_BYTES)
        async with httpx.AsyncClient(headers=bearer(SHOP), timeout=60) as client:
            assert (await client.post(port.url + PATH, content=full)).status_code == 202
    assert await redis.xlen(INBOX) == EVENTS_AT_MOST


async def test_every_key_of_the_intake_expires(redis: Redis) -> None:
    # At these rates the keys live for 8 s and more.
    async with intake_port(redis, events_per_second=115, reads_per_second=3) as port:
        await port.post([ANN] * EVENTS_AT_MOST)
        await port.outcome("signup-42")
    keys = [key for key in await redis.keys("*") if key.decode() != INBOX]
    assert len(keys) == 2
    for key in keys:
        assert 0 < await redis.pttl(key) <= 10_000


async def refused_by_redis(port: Port) -> None:
    answer = await port.post([SIGNUP, ANN])
    assert (answer.status, answer.body["error"]) == (503, "redis_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_request_is_sent_again_while_redis_is_away() -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as away, intake_port(away) as port:
        await refused_by_redis(port)
        assert (await port.outcome("signup-42")).status == 503


async def test_request_is_sent_again_while_redis_has_no_memory(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await redis.config_set("maxmemory", 1)
        try:
            await refused_by_redis(port)
        finally:
            await redis.config_set("maxmemory", 0)
        assert await redis.keys("*") == []
        assert (await port.post(ANN)).status == 202


async def test_request_is_sent_again_while_the_disk_of_redis_fails(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await its_disk_fails(redis)
        try:
            await refused_by_redis(port)
        finally:
            await its_disk_works(redis)
        assert await redis.exists(INBOX) == 0


async def test_request_is_sent_again_while_redis_is_a_replica(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await redis.replicaof("127.0.0.1", free_port())
        try:
            await refused_by_redis(port)
        finally:
            await redis.replicaof("NO", "ONE")
        assert await redis.exists(INBOX) == 0


async def test_inbox_of_the_wrong_type_accepts_nothing(redis: Redis) -> None:
    await redis.set(INBOX, "x")
    async with intake_port(redis) as port:
        await refused_by_redis(port)
    assert await redis.keys("*") == [INBOX.encode()]


async def test_inbox_with_one_id_left_accepts_none_of_two(redis: Redis) -> None:
    last = 2**64 - 1
    await redis.xadd(INBOX, {"customer_id": "bob"}, id=f"{last}-{last - 1}")
    async with intake_port(redis) as port:
        await refused_by_redis(port)
    assert [entry["customer_id"] for entry in await entries_of(redis)] == ["bob"]


async def test_nothing_is_added_before_the_owner_is_known(redis: Redis) -> None:
    async with intake_port(redis, may_add=False) as port:
        await refused_by_redis(port)
    assert await redis.keys("*") == []


@pytest.mark.parametrize("size", [2, FORM_BYTES + 2])
async def test_route_exists_only_with_tokens(redis: Redis, size: int) -> None:
    async with intake_port(redis, tokens=()) as port:
        for path in (PATH, f"{PATH}/signup-42"):
            async with port.http.post(port.url + path, data=b"[]".ljust(size), headers=bearer(SHOP)) as answer:
                assert answer.status == 404
            assert (await port.get(path)).status == 404
        assert (await port.get("/v1/openapi.json", token=None)).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ("Content-Encoding: gzip\r\nContent-Length: 2\r\n", 415, "unsupported_encoding"),
        ("Transfer-Encoding: chunked\r\n", 411, "length_required"),
    ],
)
async def test_compressed_or_chunked_body_is_refused(redis: Redis, headers: str, status: int, code: str) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\n{headers}\r\n"
    async with intake_port(redis) as port:
        answer = await exchange(port_of(port.url), head.encode())
    assert (status_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])["error"]) == (status, code)


async def test_other_methods_are_refused_as_json(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.get(PATH)
        assert (answer.status, answer.body["error"], answer.headers["Allow"]) == (405, "method_not_allowed", "POST")
        for path in (f"{PATH}/", "/v1/event", "/v1/"):
            answer = await port.get(path)
            assert (answer.status, answer.body["error"]) == (404, "not_found")
            assert f"Send events to {PATH}" in answer.body["message"]
            assert (await port.get(path, token=None)).status == 401


async def test_answers_end_with_a_line_break(redis: Redis) -> None:
    async with intake_port(redis) as port:
        for method, path in (("POST", PATH), ("GET", f"{PATH}/a"), ("GET", "/v1/openapi.json")):
            async with port.http.request(method, port.url + path, headers=bearer(SHOP), json=ANN) as answer:
                assert (await answer.text()).endswith("}\n")


async def test_port_answers_while_bodies_do_not_arrive(redis: Redis) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\nContent-Length: 1000000\r\n\r\n"
    async with intake_port(redis) as port, asyncio.TaskGroup() as tasks:
        slow = [tasks.create_task(exchange(port_of(port.url), head.encode(), b"[")) for _ in range(40)]
        for _ in range(5):
            assert (await port.get(DOCUMENT_PATH, token=None)).status == 200
        assert (await port.post(ANN)).status == 202, "a small body does not wait for large ones"
        assert not any(each.done() for each in slow)
        for each in slow:
            each.cancel()


async def test_slow_bodies_delay_only_their_own_source(redis: Redis) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\nContent-Length: 1000000\r\n\r\n"
    events = [{**ANN, "changes": {"name": "x" * 900}}] * 100
    async with intake_port(redis) as port, asyncio.TaskGroup() as tasks:
        slow = [tasks.create_task(exchange(port_of(port.url), head.encode(), b"[")) for _ in range(2 * BODIES_AT_MOST)]
        assert (await port.post(events, token=CRM)).status == 202
        assert not any(each.done() for each in slow)
        for each in slow:
            each.cancel()


async def test_port_answers_while_lists_are_checked(redis: Redis) -> None:
    async def send(port: Port) -> None:
        """Send the list, again if a busy machine does not receive it in time."""
        statuses: list[int] = []

        async def is_received() -> bool:
            with suppress(aiohttp.ClientError):
                statuses.append((await port.post(events)).status)
            return bool(statuses) and statuses[-1] != 408

        await wait_until(is_received, seconds=200)
        assert statuses[-1] == 202

    events = [{**ANN, "changes": {"metadata": {"numbers": list(range(180))}}}] * EVENTS_AT_MOST
    async with intake_port(redis, burst=5 * EVENTS_AT_MOST) as port, asyncio.TaskGroup() as tasks:
        sent = [tasks.create_task(send(port)) for _ in range(5)]
        while not all(each.done() for each in sent):
            assert (await port.get(DOCUMENT_PATH, token=None)).status == 200
    assert await redis.xlen(INBOX) == 5 * EVENTS_AT_MOST


async def test_log_names_no_token_and_no_event(redis: Redis) -> None:
    with capture_logs() as logs:
        async with intake_port(redis) as port:
            await port.post(ANN)
            await port.post({"customer_id": "ann", "changes": {"email": "hidden"}})
            for _ in range(3):
                await port.post(ANN, token="hidden-token-0123456789")
    lines = [line for line in logs if line["event"] != "port_opened"]
    assert [line["event"] for line in lines] == ["intake_refused"], "once in ten minutes"
    assert not any(part in str(logs) for part in ("hidden", "token-", "ann"))


async def test_app_that_hangs_up_is_no_fault(redis: Redis) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\nContent-Length: 9000\r\n\r\n["
    with capture_logs() as logs:
        async with intake_port(redis) as port:
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port_of(port.url))
                writer.write(head.encode())
                await writer.drain()
                assert (await port.post(ANN)).status == 202
                writer.transport.abort()
            assert (await port.post(ANN)).status == 202
    assert {line["event"] for line in logs} <= {"port_opened"}


async def test_httpx_reuses_its_connection(redis: Redis) -> None:
    async with intake_port(redis) as port, httpx.AsyncClient(headers=bearer(SHOP), timeout=60) as client:
        for _ in range(3):
            answer = await client.post(port.url + PATH, json=[ANN] * 100)
            assert answer.status_code == 202
        assert (await client.get(f"{port.url}{PATH}/{answer.json()['ids'][0]}")).json()["status"] == "waiting"
    assert await redis.xlen(INBOX) == 300
