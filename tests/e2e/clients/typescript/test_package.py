"""The packed TypeScript client: its files, its types, and that it runs without the modules of Node."""

import json
import re
from typing import Final

import pytest
from redis.asyncio import Redis

from tests.conftest import INBOX
from tests.e2e.clients.typescript.conftest import Intake
from tests.support.billing import FULLEST
from tests.support.node import NodeApp, type_errors

APP: Final = """
import { Client, CustomerSyncError } from "autumn-stripe-sync-client";
import type { BillingControls, CustomerUpdate, TaxId, UsageLimit } from "autumn-stripe-sync-client";
import type { EventSender, Outcome } from "autumn-stripe-sync-client";

const sender: EventSender = new Client({ url: "https://sync.example.com", token: "t" });
const event: CustomerUpdate = { customer_id: "user_42", changes: { email: null, metadata: { a: [1, { b: null }] } } };
const id: string = await sender.send(event);
const ids: string[] = await sender.sendMany([event, { customer_id: "user_42", type: "customer.reconcile" }]);
const outcome: Outcome | null = await sender.outcome(id, { waitSeconds: 3 });
const status: "waiting" | "applied" | "dead" | undefined = outcome?.status;
const fields: string[] = new CustomerSyncError("timeout", "late").fields.map(({ field }) => field);
const taxId: TaxId = { type: "eu_vat", value: "DE123456789" };
const added: readonly TaxId[] = [taxId];
const controls: BillingControls = {
  usage_limits: [{ feature_id: "m", usage: 1, filter: { properties: { model: "x", tier: 2, beta: true } } }],
};
await sender.send({
  customer_id: "user_42",
  source: "shop",
  changes: { currency: null, billing_controls: controls, billing_details: { address: null, tax_ids: { add: added } } },
});
await sender.send({ customer_id: "user_42", changes: { billing_details: { address: { city: null, country: "DE" } } } });
// @ts-expect-error: an unknown field
await sender.send({ customer_id: "user_42", changes: { emial: "ann@example.com" } });
// @ts-expect-error: no customer_id
await sender.send({ changes: { name: "Ann" } });
// @ts-expect-error: a date is no value of JSON
await sender.send({ customer_id: "user_42", changes: { metadata: { at: new Date() } } });
// @ts-expect-error: null is refused
await sender.send({ customer_id: "user_42", changes: { send_email_receipts: null } });
// @ts-expect-error: an unknown type
await sender.send({ customer_id: "user_42", type: "customer.deleted" });
// @ts-expect-error: an unknown field of the address
await sender.send({ customer_id: "user_42", changes: { billing_details: { address: { contry: "DE" } } } });
// @ts-expect-error: an unknown field in a list
await sender.send({ customer_id: "user_42", changes: { billing_controls: { spend_limits: [{ overage_limt: 5 }] } } });
// @ts-expect-error: no value of the tax id
await sender.send({ customer_id: "user_42", changes: { billing_details: { tax_ids: { add: [{ type: "eu_vat" }] } } } });
// @ts-expect-error: one tax id instead of a list
await sender.send({ customer_id: "user_42", changes: { billing_details: { tax_ids: { add: taxId } } } });
// @ts-expect-error: a text instead of a number
const limits: BillingControls = { spend_limits: [{ overage_limit: "5" }] };
// @ts-expect-error: an unknown kind of tax exemption
await sender.send({ customer_id: "user_42", changes: { billing_details: { tax_exempt: "yes" } } });
// @ts-expect-error: null is refused
await sender.send({ customer_id: "user_42", changes: { config: null } });
// @ts-expect-error: a list is no property of a filter
const filter: UsageLimit = { feature_id: "m", usage: 1, filter: { properties: { model: ["x"] } } };
// @ts-expect-error: no token
new Client({ url: "https://sync.example.com" });
"""
OVER_REDIS: Final = """
import { createClient } from "redis";
import { overRedis, type EventSender } from "autumn-stripe-sync-client";

const redis = createClient();
// @ts-expect-error: the types of node-redis are known
const number: number = redis;
const sender: EventSender = overRedis(redis, { stream: "customer-updates", prefix: "customer-sync" });
// @ts-expect-error: no client of node-redis
overRedis({});
"""
SANDBOXED: Final = """
import { readFile } from "node:fs/promises";
import vm from "node:vm";

const dist = new URL("node_modules/autumn-stripe-sync-client/dist/", `file://${process.cwd()}/`);
const context = vm.createContext({ fetch, URL, AbortSignal, setTimeout, TextEncoder });
const modules = new Map();
async function load(name) {
  if (!modules.has(name)) {
    const source = await readFile(new URL(name, dist), "utf8");
    modules.set(name, new vm.SourceTextModule(source, { context, identifier: name }));
  }
  return modules.get(name);
}
const index = await load("index.js");
await index.link(load);
await index.evaluate();
context.Client = index.namespace.Client;
context.options = { url: process.env.SYNC_URL, token: process.env.SYNC_TOKEN };
const id = await vm.runInContext(
  `new Client(options).send({ customer_id: "user_42", changes: { metadata: { a: [1, { b: null }] } } })`,
  context,
);
const outcome = await vm.runInContext(`new Client(options).outcome("not-sent", { waitSeconds: 0.1 })`, context);
console.log(JSON.stringify([id, outcome, [...modules.keys()].sort()]));
"""


def test_package_holds_only_the_build_and_its_documents(node_app: NodeApp) -> None:
    root = node_app.dist.parent
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    modules = ("errors", "event", "http", "index", "json", "redis", "schema", "sender")
    built = {f"dist/{name}{suffix}" for name in modules for suffix in (".js", ".d.ts")}
    assert files == {"package.json", "README.md", *built}


def test_package_imports_nothing(node_app: NodeApp) -> None:
    for path in node_app.dist.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r"""(?:from|import)\s*\(?\s*["']([^"']+)""", text)
        assert all(name.startswith("./") for name in imported), f"{path.name} imports {imported}"
        assert not re.search(r"\b(?:process|Buffer|require|globalThis|window)\b\s*[.(]|node:", text), path.name


async def test_client_runs_with_web_apis_only(node_app: NodeApp, services: Intake) -> None:
    options = ("--no-warnings", "--experimental-vm-modules")
    event_id, outcome, modules = await node_app.result_of(SANDBOXED, *options, **services.variables)
    assert outcome is None
    assert {"./http.js", "./redis.js"} <= set(modules)
    async with Redis.from_url(services.box.redis.url) as redis:
        ((entry_id, _),) = await redis.xrange(INBOX)
    assert event_id == entry_id.decode()


@pytest.mark.parametrize("lib", [["ES2022", "DOM"], ["ES2022", "WebWorker"]], ids=["dom", "worker"])
def test_types_fit_an_app_without_node(node_app: NodeApp, lib: list[str]) -> None:
    assert type_errors(node_app.folder, APP, lib=lib, skipLibCheck=False) == ""


def test_types_fit_every_billing_field(node_app: NodeApp) -> None:
    app = f"""
        import type {{ CustomerUpdate }} from "autumn-stripe-sync-client";
        export const event: CustomerUpdate = {{ customer_id: "user_42", changes: {json.dumps(FULLEST)} }};
    """
    assert type_errors(node_app.folder, app, lib=["ES2022", "DOM"]) == ""


@pytest.mark.parametrize("version", ["redis-4", "redis-5", "redis"])
def test_types_fit_each_node_redis(node_app: NodeApp, version: str) -> None:
    node_app.link(version, "redis")
    node_app.link("@types")
    # Some types of node-redis do not compile by themselves, so only the app is checked.
    options = {"lib": ["ES2023"], "types": ["node"], "skipLibCheck": True}
    assert type_errors(node_app.folder, OVER_REDIS, **options) == ""


def test_compiler_reports_a_wrong_app(node_app: NodeApp) -> None:
    found = type_errors(node_app.folder, 'const number: number = "text";\nexport {};\n', lib=["ES2022"])
    assert "app.ts(1,7): error TS2322" in found
