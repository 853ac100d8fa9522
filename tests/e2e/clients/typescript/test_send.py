"""An app of Node sends events over HTTP and over each node-redis, and a real worker applies them."""

import json
import re
import time

import pytest
from pydantic import JsonValue
from redis.asyncio import Redis

from jobs.events import EventError, new_update
from tests.conftest import INBOX
from tests.e2e.clients.typescript.conftest import Intake
from tests.e2e.test_redis_acl import ASKING, RULES, WORD, rules_of
from tests.support.billing import FULLEST, places, with_value
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
FIVE_FIELDS = [{"name": "", "value": "b"}] * 5
LONG_FIELDS = [{"name": "a" * 41, "value": "b" * 141}]
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
    {"customer_id": "user_10", "changes": {"name": "Ann"}, "source": "x" * 101},
    {"customer_id": "user_11", "changes": {"currency": "euro", "config": {"disable_pool_balance": True}}},
    {"customer_id": "user_12", "changes": {"billing_controls": {"spend_limits": [{}, {"overage_limit": "5"}, 5]}}},
    {"customer_id": "user_13", "changes": {"billing_controls": {"overage_allowed": [{"enabled": 1, "limit": 2}]}}},
    {"customer_id": "user_14", "changes": {"billing_details": {"adress": {}, "tax_exempt": "yes", "tax_ids": None}}},
    {"customer_id": "user_15", "changes": {"billing_details": {"address": {"country": "Germany", "zip": "1"}}}},
    {"customer_id": "user_16", "changes": {"billing_details": {"tax_ids": {"add": [{"type": "", "value": 5}]}}}},
    {"customer_id": "user_17", "changes": {"billing_details": {"invoice_settings": {"custom_fields": FIVE_FIELDS}}}},
    {"customer_id": "user_18", "changes": {"billing_details": {"invoice_settings": {"custom_fields": LONG_FIELDS}}}},
]
ODD: list[JsonValue] = [None, -5, 1.5, "Odd", True, [], {}, [["Odd"]], {"odd": "Odd"}]


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


@pytest.mark.parametrize("transport", ["http", "redis"])
async def test_only_event_with_event_id_may_be_repeated(node_app: NodeApp, services: Intake, transport: str) -> None:
    for customer in ("with_id", "without_id"):
        services.box.autumn.seed(customer)
    script = f"""{opened(node_app, transport)}
        async function apply(event) {{
          await client.outcome(await client.send(event), {{ waitSeconds: 30 }});
        }}
        for (const [customer_id, event_id] of [["with_id", "first"], ["without_id", undefined]]) {{
          const first = {{ customer_id, changes: {{ name: "First" }}, event_id }};
          await apply(first);
          await apply({{ customer_id, changes: {{ name: "Second" }} }});
          await client.send(first);
          await apply({{ customer_id, changes: {{ email: "last@example.com" }} }});
        }}
        await close();
    """
    async with worker(services.box.environment):
        await node_app.output_of(script, **services.variables)
    customers = services.box.autumn.customers
    assert {each: (customers[each]["name"], customers[each]["email"]) for each in ("with_id", "without_id")} == {
        "with_id": ("Second", "last@example.com"),
        "without_id": ("First", "last@example.com"),
    }


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
    # Over HTTP, the name of the token is the source.
    source = {b"source": b"shop"} if transport == "http" else {}
    assert update.keys() - {b"type"} == {b"customer_id", b"changes", *source}
    assert json.loads(update[b"changes"]) == {"email": None, "metadata": {"b": None, "c": [{}]}}
    assert reconcile == {b"customer_id": b"user_42", b"type": b"customer.reconcile", **source}


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
    """Return the paths that the worker's own model names, without those of a rule that the schema cannot express."""
    try:
        new_update(**event)
    except EventError as error:
        return [fault.field for fault in error.faults if "send limit and interval" not in fault.message]
    return []


async def test_every_billing_field_is_sent_unchanged(node_app: NodeApp, services: Intake) -> None:
    script = f"""{opened(node_app, "redis")}
        await client.send({{ customer_id: "user_42", changes: {json.dumps(FULLEST)} }});
        await close();
    """
    await node_app.output_of(script, **services.variables)
    async with Redis.from_url(services.box.redis.url) as redis:
        ((_, fields),) = await redis.xrange(INBOX)
    assert json.loads(fields[b"changes"]) == FULLEST


async def test_redis_client_refuses_what_the_worker_refuses(node_app: NodeApp, services: Intake) -> None:
    changes = [with_value(FULLEST, path, odd) for path in places(FULLEST) for odd in ODD]
    events: list[dict[str, object]] = [{"customer_id": "user_42", "changes": each} for each in changes]
    wrong = [event for event in events if wrong_paths(event)]
    right = [event for event in events if not wrong_paths(event)]
    (node_app.folder / "events.json").write_text(json.dumps([wrong, right]), encoding="utf-8")
    script = f"""{opened(node_app, "redis")}
        import {{ readFile }} from "node:fs/promises";
        const [wrong, right] = JSON.parse(await readFile("events.json", "utf8"));
        const {{ fields }} = await client.sendMany(wrong).catch((error) => error);
        console.log(JSON.stringify([fields, (await client.sendMany(right)).length]));
        await close();
    """
    fields, accepted = await node_app.result_of(script, **services.variables)
    found = sorted((each["entry"], each["field"]) for each in fields)
    assert found == sorted((entry, path) for entry, event in enumerate(wrong) for path in wrong_paths(event))
    assert accepted == len(right)
    assert min(len(wrong), len(right)) > 50


async def test_node_samples_of_the_documents_run(node_app: NodeApp, services: Intake) -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    samples = re.findall(r"```js\n(.*?)```", page[page.index("\n## Node\n") :], re.DOTALL)
    node_app.link("redis")
    services.box.autumn.seed("user_42")
    async with worker(services.box.environment):
        outputs = [await node_app.output_of(sample, **services.variables) for sample in samples]
    assert ["status: 'applied'" in output for output in outputs] == [True, True, False]
    assert services.box.autumn.customers["user_42"]["email"] == "ann@example.com"
