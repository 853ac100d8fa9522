"""An app of Node sends events over HTTP and over each node-redis, and a real worker applies them."""

import json
import re
import time

import pytest
from redis.asyncio import Redis

from jobs.events import EventError, new_update
from tests.conftest import INBOX
from tests.e2e.clients.typescript.conftest import Intake
from tests.e2e.test_redis_acl import ASKING, RULES, WORD, rules_of
from tests.support.node import NodeApp
from tests.support.processes import ROOT, worker

NODE_REDIS = ("redis-4", "redis-5", "redis")
TRANSPORTS = ("http", *NODE_REDIS)
OPENED = {
    "http": """
        import { Client } from "autumn-stripe-sync-client";
        const client = new Client({ url: process.env.SYNC_URL, token: process.env.SYNC_TOKEN });
        const close = () => {};
    """,
    "redis": """
        import { createClient } from "redis";
        import { overRedis } from "autumn-stripe-sync-client";
        const redis = await createClient({ url: process.env.REDIS_URL }).connect();
        const client = overRedis(redis);
        const close = () => redis.quit();
    """,
}
INVALID: list[dict[str, object]] = [
    {"customer_id": "user_1", "changes": {"emial": "ann@example.com", "name": 5}},
    {"customer_id": "user 2", "changes": {"name": "Ann"}},
    {"customer_id": "user_3", "changes": {}},
    {"customer_id": "user_4", "type": "customer.deleted", "changes": {"name": "Ann"}},
    {"customer_id": "user_5", "type": "customer.reconcile", "changes": {"name": "Ann"}},
    {"customer_id": "user_6", "changes": {"metadata": None, "send_email_receipts": None}},
    {"customer_id": "user_7", "changes": {"metadata": [], "stripe_id": "cus/1"}, "event_id": "x" * 201},
    {"customer_id": "user_8", "changes": {"name": "Ann"}, "event_id": ""},
    {"customer_id": "", "changes": "Ann"},
    {"changes": {"name": "Ann"}, "source": "app"},
    {"customer_id": "user_9", "changes": None},
]


def opened(app: NodeApp, transport: str) -> str:
    """Return the beginning of a module that opens `client`."""
    if transport == "http":
        return OPENED["http"]
    app.link(transport, "redis")
    return OPENED["redis"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_event_is_applied_and_its_outcome_read(node_app: NodeApp, services: Intake, transport: str) -> None:
    services.box.autumn.seed("user_42")
    script = f"""{opened(node_app, transport)}
        const id = await client.send({{ customer_id: "user_42", changes: {{ name: "Ann" }}, event_id: "a/1 ü" }});
        const unknown = await client.outcome("not-sent");
        const outcome = await client.outcome(id, {{ waitSeconds: 30 }});
        console.log(JSON.stringify({{ id, unknown, outcome }}));
        await close();
    """
    before_ms = time.time() * 1000
    async with worker(services.box.environment):
        result = await node_app.result_of(script, **services.variables)
    assert result["id"] == "a/1 ü"
    assert result["unknown"] is None
    outcome = result["outcome"]
    assert {name: outcome[name] for name in ("id", "status", "customer_id", "reason")} == {
        "id": "a/1 ü",
        "status": "applied",
        "customer_id": "user_42",
        "reason": None,
    }
    assert re.fullmatch(r"\d+-\d+", outcome["entry_id"])
    assert before_ms - 1000 < outcome["at"] < time.time() * 1000 + 1000
    assert services.box.autumn.customers["user_42"]["name"] == "Ann"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_many_events_keep_their_order(node_app: NodeApp, services: Intake, transport: str) -> None:
    script = f"""{opened(node_app, transport)}
        const events = Array.from({{ length: 300 }}, (_, at) => ({{
          customer_id: `user_${{at % 7}}`, changes: {{ name: `${{at}}` }}, event_id: at === 3 ? "third" : undefined,
        }}));
        console.log(JSON.stringify([await client.sendMany([]), await client.sendMany(events)]));
        await close();
    """
    none, ids = await node_app.result_of(script, **services.variables)
    async with Redis.from_url(services.box.redis.url) as redis:
        entries = await redis.xrange(INBOX)
    assert none == []
    assert [json.loads(fields[b"changes"])["name"] for _, fields in entries] == [str(at) for at in range(300)]
    assert ids == ["third" if at == 3 else entry_id.decode() for at, (entry_id, _) in enumerate(entries)]


@pytest.mark.parametrize("version", NODE_REDIS)
async def test_redis_user_for_apps_may_send_and_read(node_app: NodeApp, services: Intake, version: str) -> None:
    script = f"""{opened(node_app, version)}
        const ids = await client.sendMany(["a", "b"].map((name) => ({{ customer_id: name, changes: {{ name }} }})));
        console.log(JSON.stringify([ids.length, await client.outcome(ids[0])]));
        await close();
    """
    async with Redis.from_url(services.box.redis.url) as admin:
        rules = await rules_of(admin)
        rule = [f">{WORD}" if word.startswith(">") else word for word in RULES[rules]["customer-sync-app"]]
        await admin.execute_command("ACL", "SETUSER", "customer-sync-app", *rule)
    url = services.box.redis.url.replace("://", f"://customer-sync-app:{WORD}@")
    if rules == "redis-6.2.acl":
        script = script.replace("await client.outcome(ids[0])", "null")
        assert ASKING[rules] != "customer-sync-app"
    assert await node_app.result_of(script, **{**services.variables, "REDIS_URL": url}) == [2, None]


@pytest.mark.parametrize("transport", ["http", "redis"])
async def test_undefined_is_left_out_and_null_is_sent(node_app: NodeApp, services: Intake, transport: str) -> None:
    script = f"""{opened(node_app, transport)}
        await client.send({{
          customer_id: "user_42",
          changes: {{ name: undefined, email: null, metadata: {{ a: undefined, b: null, c: [{{ d: undefined }}] }} }},
          event_id: null,
          traceparent: undefined,
        }});
        await client.send({{ customer_id: "user_42", type: "customer.reconcile", changes: undefined }});
        await close();
    """
    await node_app.output_of(script, **services.variables)
    async with Redis.from_url(services.box.redis.url) as redis:
        (_, update), (_, reconcile) = await redis.xrange(INBOX)
    assert update.keys() - {b"type"} == {b"customer_id", b"changes"}
    assert json.loads(update[b"changes"]) == {"email": None, "metadata": {"b": None, "c": [{}]}}
    assert reconcile == {b"customer_id": b"user_42", b"type": b"customer.reconcile"}


@pytest.mark.parametrize("transport", ["http", "redis"])
async def test_every_wrong_field_is_named_and_nothing_is_sent(
    node_app: NodeApp, services: Intake, transport: str
) -> None:
    valid = {"customer_id": "user_42", "changes": {"name": "Ann"}}
    script = f"""{opened(node_app, transport)}
        const found = await client.sendMany({json.dumps([valid, *INVALID])}).catch((error) => error);
        const {{ name, code, fields, message }} = found;
        console.log(JSON.stringify({{ name, code, fields, message }}));
        await close();
    """
    error = await node_app.result_of(script, **services.variables)
    assert (error["name"], error["code"]) == ("CustomerSyncError", "invalid_events")
    found = sorted((each["entry"], each["field"]) for each in error["fields"])
    assert found == sorted((entry, path) for entry, event in enumerate(INVALID, 1) for path in wrong_paths(event))
    assert "Ann" not in error["message"]
    async with Redis.from_url(services.box.redis.url) as redis:
        assert await redis.xlen(INBOX) == 0


def wrong_paths(event: dict[str, object]) -> list[str]:
    """Return the paths that the worker's own model names."""
    with pytest.raises(EventError) as raised:
        new_update(**event)
    return [problem.partition(": ")[0] for problem in str(raised.value).split("; ")]


async def test_node_samples_of_the_documents_run(node_app: NodeApp, services: Intake) -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    samples = re.findall(r"```js\n(.*?)```", page[page.index("\n## Node\n") :], re.DOTALL)
    node_app.link("redis")
    services.box.autumn.seed("user_42")
    async with worker(services.box.environment):
        outputs = [await node_app.output_of(sample, **services.variables) for sample in samples]
    assert ["status: 'applied'" in output for output in outputs] == [True, True, False]
    assert services.box.autumn.customers["user_42"]["email"] == "ann@example.com"
