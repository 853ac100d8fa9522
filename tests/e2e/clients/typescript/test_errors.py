"""The errors of the TypeScript client: codes, times to wait, and values that JSON would change."""

import asyncio
from typing import Final

import pytest
from aiohttp import web
from redis.asyncio import Redis

from sandbox.serve import serving
from tests.conftest import INBOX
from tests.e2e.clients.typescript.conftest import Intake
from tests.e2e.clients.typescript.test_send import OPENED, opened
from tests.support.intake import SHOP
from tests.support.node import NodeApp
from tests.support.processes import free_port
from tests.support.scripted import Answer, scripted
from worker.web.api.events import RETRY_SECONDS

HTTP: Final = """
    import { Client } from "autumn-stripe-sync-client";
    import { inspect } from "node:util";
    const { SYNC_URL: url, SYNC_TOKEN: token, TIMEOUT_SECONDS: seconds = "60", EVENTS: events = "1" } = process.env;
    const client = new Client({ url, token, timeoutSeconds: Number(seconds) });
    const errors = [];
    while (errors.length < Number(events)) {
      const error = await client.send({ customer_id: "user_42", changes: { name: "Ann" } }).catch((found) => found);
      const { code, fields, retryAfterSeconds = null, message } = error;
      errors.push({ code, fields, retryAfterSeconds, message, all: inspect([client, error]) });
    }
    console.log(JSON.stringify(errors));
"""
UNFIT: Final = {
    "NaN": "NaN",
    "an infinite number": "-Infinity",
    "a number beyond 2^53 - 1": "2 ** 53",
    "a BigInt": "10n",
    "undefined in a list": "[undefined]",
    "a hole in a list": "[, 1]",
    "a date": "new Date()",
    "a map": "new Map()",
    "a function": "() => 1",
    "a symbol": "Symbol()",
    "an object with toJSON": "({ toJSON: () => 1 })",
    "half a surrogate pair": '"\\ud800"',
    "a NUL byte": '"\\0"',
    "an object that contains itself": "(() => { const one = {}; one.a = one.b = one.c = one; return one; })()",
    "a very deep list": "Array.from({ length: 5000 }).reduce((inner) => [inner], 1)",
}
ANSWERS: Final = {
    "unauthorized": (401, '{"error": "unauthorized", "message": "unknown token"}', {}, "unauthorized", None),
    "too large": (413, '{"error": "too_large", "message": "too large"}', {}, "too_large", None),
    "rate limited": (429, '{"error": "rate_limited", "message": "wait"}', {"Retry-After": "7"}, "rate_limited", 7),
    "no Redis": (503, '{"error": "redis_unavailable"}', {"Retry-After": "5"}, "redis_unavailable", 5),
    "a proxy's error": (502, "<html>Bad Gateway", {"Retry-After": "1"}, "unexpected_answer", 1),
    "a date as the time to wait": (
        503,
        "",
        {"Retry-After": "Fri, 01 Jan 2027 00:00:00 GMT"},
        "unexpected_answer",
        None,
    ),
    "a page": (200, "<html>Welcome", {}, "unexpected_answer", None),
    "an accepted event without ids": (202, '{"ids": []}', {}, "unexpected_answer", None),
    "a redirect": (302, "", {"Location": "/elsewhere"}, "unexpected_answer", None),
}


async def test_refusals_have_their_codes_and_times_to_wait(node_app: NodeApp) -> None:
    async with scripted(*[(status, body, headers) for status, body, headers, *_ in ANSWERS.values()]) as server:
        variables = {"SYNC_URL": f"{server.url}/below/", "SYNC_TOKEN": SHOP, "EVENTS": f"{len(ANSWERS)}"}
        errors = await node_app.result_of(HTTP, **variables)
    found = {
        answer: (error["code"], error["retryAfterSeconds"], error["fields"])
        for answer, error in zip(ANSWERS, errors, strict=True)
    }
    assert found == {answer: (code, seconds, []) for answer, (*_, code, seconds) in ANSWERS.items()}
    assert not [error for error in errors if SHOP in error["all"]]
    assert server.requests == ["POST /below/v1/events"] * len(ANSWERS)


async def test_server_that_does_not_answer_times_out(node_app: NodeApp) -> None:
    ended = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await ended.wait()
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/events", hang)])
    async with serving(app) as url:
        (error,) = await node_app.result_of(HTTP, SYNC_URL=url, SYNC_TOKEN=SHOP, TIMEOUT_SECONDS="0.5")
        ended.set()
    assert (error["code"], error["message"]) == ("timeout", "no answer within 0.5 seconds")


async def test_server_that_is_down_is_unreachable(node_app: NodeApp) -> None:
    (error,) = await node_app.result_of(HTTP, SYNC_URL=f"http://127.0.0.1:{free_port()}", SYNC_TOKEN=SHOP)
    assert error["code"] == "unreachable"
    assert SHOP not in error["all"]


async def test_wrong_token_is_unauthorized(node_app: NodeApp, services: Intake) -> None:
    (error,) = await node_app.result_of(HTTP, **{**services.variables, "SYNC_TOKEN": "another"})
    assert error["code"] == "unauthorized"


@pytest.mark.parametrize("transport", ["http", "redis"])
async def test_values_that_json_would_change_are_refused(node_app: NodeApp, services: Intake, transport: str) -> None:
    values = ", ".join(f'"{name}": {js}' for name, js in UNFIT.items())
    script = f"""{opened(node_app, transport)}
        const found = {{}};
        for (const [name, value] of Object.entries({{ {values} }})) {{
          const event = {{ customer_id: "user_42", changes: {{ metadata: {{ value }} }} }};
          const error = await client.send(event).catch((thrown) => thrown);
          found[name] = `${{error.code}} ${{error.fields?.[0].field.split(".").slice(0, 3).join(".")}}`;
        }}
        console.log(JSON.stringify(found));
        await close();
    """
    found = await node_app.result_of(script, **services.variables)
    assert found == dict.fromkeys(UNFIT, "invalid_events changes.metadata.value")
    async with Redis.from_url(services.box.redis.url) as redis:
        assert await redis.xlen(INBOX) == 0


@pytest.mark.parametrize("transport", ["http", "redis-4", "redis-5", "redis"])
async def test_redis_that_refuses_is_named(node_app: NodeApp, services: Intake, transport: str) -> None:
    script = f"""{opened(node_app, transport)}
        const one = {{ customer_id: "user_42", changes: {{ name: "Ann" }} }};
        const errors = [await client.send(one).catch((e) => e), await client.sendMany([one, one]).catch((e) => e)];
        console.log(JSON.stringify(errors.map((error) => [error.code, error.retryAfterSeconds ?? null])));
        await close();
    """
    async with Redis.from_url(services.box.redis.url) as redis:
        await redis.set(INBOX, "not a stream")
    errors = await node_app.result_of(script, **services.variables)
    assert errors == [["redis_unavailable", RETRY_SECONDS if transport == "http" else None]] * 2


async def test_more_than_1000_events_are_the_same_error_everywhere(node_app: NodeApp, services: Intake) -> None:
    script = """
        const events = Array.from({ length: 1001 }, () => ({ customer_id: "user 42", changes: { name: NaN } }));
        const { code, message } = await client.sendMany(events).catch((error) => error);
        console.log(JSON.stringify([code, message]));
        await close();
    """
    # No server listens there, so nothing can be sent.
    nowhere = f"http://127.0.0.1:{free_port()}"
    variables = {**services.variables, "SYNC_URL": nowhere}
    over_http = await node_app.result_of(opened(node_app, "http") + script, **variables)
    over_redis = await node_app.result_of(opened(node_app, "redis") + script, **variables)
    assert over_http == over_redis == ["too_large", "1001 events: send at most 1000 at a time"]
    async with Redis.from_url(services.box.redis.url) as redis:
        assert await redis.xlen(INBOX) == 0


async def test_body_that_the_worker_refuses_is_not_sent(node_app: NodeApp) -> None:
    script = """
        const event = { customer_id: "user_42", changes: { name: "ü".repeat(100_000) } };
        const { code, message } = await client.sendMany([event, event, event, event, event, event]).catch((e) => e);
        console.log(JSON.stringify([code, message.split(": ")[1]]));
    """
    variables = {"SYNC_URL": f"http://127.0.0.1:{free_port()}", "SYNC_TOKEN": SHOP}
    found = await node_app.result_of(opened(node_app, "http") + script, **variables)
    assert found == ["too_large", "send at most 1048576 at a time"]


async def test_outcome_is_read_until_the_event_is_done(node_app: NodeApp) -> None:
    note = {"id": "a", "customer_id": "user_42", "entry_id": "1-0", "reason": None, "at": None}
    unknown: Answer = (404, {"error": "unknown_event", "message": "unknown"}, {})
    waiting: Answer = (200, {**note, "status": "waiting"}, {})
    applied: Answer = (200, {**note, "status": "applied", "at": 5}, {})
    script = OPENED["http"] + 'console.log(JSON.stringify(await client.outcome("a", { waitSeconds: 3600 })));'
    async with scripted(unknown, waiting, waiting, applied) as server:
        outcome = await node_app.result_of(script, SYNC_URL=server.url, SYNC_TOKEN=SHOP)
    assert outcome == {**note, "status": "applied", "at": 5}
    assert server.requests == ["GET /v1/events/a?wait=30"] * 4


async def test_invalid_wait_and_invalid_id_are_refused(node_app: NodeApp) -> None:
    script = (
        OPENED["http"]
        + """
        const waits = [-1, NaN].map((waitSeconds) => client.outcome("a", { waitSeconds }));
        const ids = ["", ".", "..", "\\ud800"].map((id) => client.outcome(id));
        const errors = await Promise.all([...waits, ...ids].map((read) => read.catch((error) => error)));
        console.log(JSON.stringify(errors.map(({ code, name }) => code ?? name)));
    """
    )
    # No server listens there, so nothing can be sent.
    errors = await node_app.result_of(script, SYNC_URL=f"http://127.0.0.1:{free_port()}", SYNC_TOKEN=SHOP)
    assert errors == ["RangeError"] * 2 + ["invalid_id"] * 4


async def test_wrong_option_is_refused_without_its_value(node_app: NodeApp) -> None:
    script = """
        import { Client } from "autumn-stripe-sync-client";
        const url = "https://sync.example.com";
        const wrong = [
          { url: "ftp://sync.example.com", token: "t" },
          { url: "https://user:word@sync.example.com", token: "t" },
          { url, token: "secret\\nword" },
          { url, token: undefined },
          { url, token: "t", timeoutSeconds: 0 },
          { url, token: "t", timeoutSeconds: Infinity },
        ];
        const refused = (options) => {
          try {
            return String(new Client(options));
          } catch (error) {
            return error.message;
          }
        };
        console.log(JSON.stringify(wrong.map(refused)));
    """
    messages = await node_app.result_of(script)
    assert ["must" in message for message in messages] == [True] * 6
    assert not [message for message in messages if "word" in message.replace("password", "")]
