"""Behaviour of the Autumn simulator that recordings cannot show: its limits, faults and counters, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault, Kind
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator

LINKED = "cus_linked"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    json: dict[str, Any]


@dataclass(frozen=True)
class World:
    """Autumn with one customer, "ann", who is linked to a customer of Stripe."""

    autumn: AutumnSimulator
    stripe: StripeSimulator
    url: str
    stripe_url: str
    session: aiohttp.ClientSession

    async def call(
        self,
        endpoint: str,
        body: Any,
        *,
        version: str = "2.3",
        headers: Mapping[str, str] | None = None,
        seconds: float = 5,
    ) -> Answer:
        plain = {"Authorization": "Bearer am_sk_test_sandbox", "x-api-version": version}
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.session.post(
            f"{self.url}/v1/customers.{endpoint}", json=body, headers={**plain, **(headers or {})}, timeout=timeout
        ) as answer:
            is_json = answer.content_type == "application/json"
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, lowered, await answer.text(), await answer.json() if is_json else {})

    async def rename(self, name: str, *, seconds: float = 5) -> Answer:
        return await self.call("update", {"customer_id": "ann", "name": name}, seconds=seconds)

    @property
    def ann(self) -> dict[str, Any]:
        return self.autumn.customers["ann"]


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    stripe = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None)
    stripe.seed_customer(id=LINKED, name="Ann", email="ann@example.com")
    async with serving(stripe.app()) as stripe_url:
        autumn = AutumnSimulator(**{"stripe_url": stripe_url, **options})
        autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=LINKED)
        async with serving(autumn.app()) as url, aiohttp.ClientSession() as session:
            yield World(autumn, stripe, url, stripe_url, session)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the simulator has no event for it, as Autumn has none
            await asyncio.sleep(0.01)


async def test_limit_is_a_text_429_until_the_next_second() -> None:
    now = [1000.0]
    async with world(updates_per_second=3, clock=lambda: now[0]) as here:
        statuses = [(await here.rename(f"Ann {count}")).status for count in range(3)]
        refused = await here.rename("Ann 4")
        now[0] += 1.0
        statuses.append((await here.rename("Ann 5")).status)
    assert statuses == [200, 200, 200, 200]
    assert refused.status == 429
    assert refused.text == "Too many requests, please try again later."
    assert refused.headers["content-type"] == "text/plain; charset=UTF-8"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-remaining"] == "0"


async def test_update_and_delete_share_a_limit_without_get() -> None:
    async with world(updates_per_second=1, clock=lambda: 1000.0) as here:
        assert (await here.rename("Anna")).status == 200
        assert (await here.call("delete", {"customer_id": "ann"})).status == 429
        assert (await here.call("get", {"customer_id": "ann"})).status == 200


@pytest.mark.parametrize(("version", "per_second"), [("2.3", 50), ("2.2", 5)])
async def test_list_has_the_limit_of_its_version(version: str, per_second: int) -> None:
    async with world(clock=lambda: 1000.0) as here:
        answers = [await here.call("list", {}, version=version) for _ in range(per_second + 1)]
    assert [answer.status for answer in answers] == [200] * per_second + [429]


async def test_without_limits_nothing_is_refused() -> None:
    async with world(updates_per_second=None, clock=lambda: 1000.0) as here:
        answers = [await here.rename(f"Ann {count}") for count in range(30)]
    assert {answer.status for answer in answers} == {200}
    assert "ratelimit-limit" not in answers[0].headers


@pytest.mark.parametrize(
    ("kind", "code", "retry_after"),
    [("429", None, "1"), ("500", "internal_error", None), ("503", "service_unavailable", "1")],
)
async def test_refusing_fault_changes_nothing(kind: Kind, code: str | None, retry_after: str | None) -> None:
    async with world() as here:
        here.autumn.switches.add(Fault(kind, "customers.update", times=1))
        refused = await here.rename("Anna")
        assert here.ann["name"] == "Ann"
        assert (await here.rename("Anna")).status == 200
    assert str(refused.status) == kind
    assert refused.json.get("code") == code
    assert refused.headers.get("retry-after") == retry_after


@pytest.mark.parametrize(("kind", "name"), [("cut", "Ann"), ("lost", "Anna")])
async def test_update_without_an_answer_may_have_been_applied(kind: Kind, name: str) -> None:
    async with world() as here:
        here.autumn.switches.add(Fault(kind))
        with pytest.raises(aiohttp.ClientError):
            await here.rename("Anna")
        assert (here.ann["name"], here.stripe.customers[LINKED]["name"]) == (name, name)
        assert [call.status for call in here.autumn.calls] == [0]


async def test_hanging_update_continues_after_its_client_gave_up() -> None:
    async with world() as here:
        fault = Fault("hang", times=1, seconds=3600)
        here.autumn.switches.add(fault)
        late = asyncio.create_task(here.rename("Late", seconds=3600))
        await until(lambda: fault.times == 0)
        late.cancel()
        await asyncio.wait({late})
        assert (await here.rename("Anna")).json["name"] == "Anna"
        here.autumn.switches.release()
        await until(lambda: here.ann["name"] == "Late")
    assert here.autumn.max_parallel_updates == {"ann": 2}


async def test_garbage_is_not_json() -> None:
    async with world() as here:
        here.autumn.switches.add(Fault("garbage"))
        answer = await here.rename("Anna")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_simultaneous_updates_of_one_customer_lose_a_change() -> None:
    async with world(database_seconds=1) as here:
        changes = [{"customer_id": "ann", "metadata": {key: 1}} for key in ("a", "b")]
        await asyncio.gather(*(here.call("update", change) for change in changes))
    assert here.autumn.max_parallel_updates == {"ann": 2}
    assert len(here.ann["metadata"]) == 1


async def test_updates_of_different_customers_count_separately() -> None:
    async with world(database_seconds=1) as here:
        here.autumn.seed("bob")
        await asyncio.gather(*(here.call("update", {"customer_id": one}) for one in ("ann", "bob")))
    assert here.autumn.max_parallel_updates == {"ann": 1, "bob": 1}
    assert here.autumn.max_updates_in_flight == 2


async def test_customers_survive_a_restart() -> None:
    async with world() as here:
        await here.rename("Anna")
        async with serving(here.autumn.app()) as url:
            again = replace(here, url=url)
            assert (await again.call("get", {"customer_id": "ann"})).json["name"] == "Anna"


async def test_replaced_key_is_refused_while_serving() -> None:
    async with world() as here:
        here.autumn.key = "am_sk_test_rolled"
        refused = await here.rename("Anna")
        here.autumn.key = "am_sk_test_sandbox"
        accepted = await here.rename("Anna")
    assert (refused.status, refused.json["code"]) == (401, "invalid_secret_key")
    assert accepted.status == 200


async def test_only_the_message_tells_stripes_failure_from_a_missing_customer() -> None:
    async with world() as here:
        here.stripe.switches.add(Fault("500", times=1))
        broken = await here.rename("Anna")
        here.stripe.seed_customer(id=LINKED, deleted=True)
        gone = await here.rename("Anna")
        assert here.ann["name"] == "Ann"
    assert (broken.status, broken.json["code"]) == (gone.status, gone.json["code"]) == (400, "stripe_error")
    assert gone.json["message"] == f"(Stripe Error) No such customer: '{LINKED}'"
    assert "No such customer" not in broken.json["message"]


async def test_unreachable_stripe_and_wrong_stripe_key_are_stripe_errors() -> None:
    async with world(stripe_url="http://127.0.0.1:1") as here:
        unreachable = await here.rename("Anna")
    async with world(stripe_key="sk_test_wrong") as here:
        unauthorized = await here.rename("Anna")
    assert (unreachable.status, unreachable.json["code"]) == (400, "stripe_error")
    assert (unauthorized.status, unauthorized.json["code"]) == (400, "stripe_error")


@pytest.mark.parametrize("changes", [{"name": "a\0b"}, {"metadata": {"k": ["\0"]}}])
async def test_nul_byte_is_an_internal_error_that_stores_nothing(changes: dict[str, Any]) -> None:
    async with world() as here:
        answer = await here.call("update", {"customer_id": "ann", **changes})
        assert (answer.status, answer.json["code"]) == (500, "internal_error")
        assert (here.ann["name"], here.ann["metadata"]) == ("Ann", {})


async def test_customer_is_found_by_its_internal_id() -> None:
    async with world() as here:
        internal = here.ann["internal_id"]
        answer = await here.call("update", {"customer_id": internal, "name": "Anna"})
    assert answer.json["id"] == "ann"
    assert here.ann["name"] == "Anna"


async def test_customer_cannot_take_an_existing_id() -> None:
    async with world() as here:
        here.autumn.seed("bob")
        answer = await here.call("update", {"customer_id": "bob", "new_customer_id": "ann"})
    assert (answer.status, answer.json["code"]) == (409, "customer_already_exists")


async def test_null_unlinks() -> None:
    async with world() as here:
        answer = await here.call("update", {"customer_id": "ann", "stripe_id": None})
    assert answer.json["stripe_id"] is None
    assert "processors" not in answer.json


async def test_customer_of_another_processor_shows_it_with_and_without_stripe() -> None:
    async with world() as here:
        here.autumn.seed("carl", processors={"revenuecat": {"id": "carl"}})
        alone = (await here.call("get", {"customer_id": "carl"})).json
        linked = (await here.call("update", {"customer_id": "carl", "stripe_id": here.ann["stripe_id"]})).json
        listed = (await here.call("list", {"processors": ["revenuecat"]})).json["list"]
    assert alone["processors"] == {"revenuecat": {"id": "carl"}}
    assert linked["processors"] == {"stripe": {"id": linked["stripe_id"]}, "revenuecat": {"id": "carl"}}
    assert [row["id"] for row in listed] == ["carl"]


@pytest.mark.parametrize(("currency", "status"), [("eur", 200), ("EUR", 200), (None, 200), ("euro", 400), ("", 400)])
async def test_currency_is_taken_and_not_shown(currency: str | None, status: int) -> None:
    async with world() as here:
        answer = await here.call("update", {"customer_id": "ann", "currency": currency})
    assert answer.status == status
    assert "currency" not in answer.json


async def test_config_is_merged_by_its_keys() -> None:
    async with world() as here:
        await here.call("update", {"customer_id": "ann", "config": {"disable_pooled_balance": True}})
        answer = await here.call("update", {"customer_id": "ann", "config": {"disable_overage_billing": False}})
    assert answer.json["config"] == {"disable_pooled_balance": True, "disable_overage_billing": False}


async def test_customer_created_in_stripe_is_marked_as_autumns() -> None:
    async with world() as here:
        answer = await here.call("get_or_create", {"customer_id": "bob", "create_in_stripe": True})
        created = here.stripe.customers[answer.json["stripe_id"]]
    assert created["metadata"]["autumn_id"] == "bob"


async def test_cursor_pages_show_equally_old_customers_once() -> None:
    async with world(clock=lambda: 1000.0) as here:
        for number in range(6):
            here.autumn.seed(f"bob-{number}")
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await here.call("list", {"limit": 3, "start_cursor": cursor})).json
            seen += [row["id"] for row in page["list"]]
            cursor = page["next_cursor"]
    assert sorted(seen) == sorted(here.autumn.customers)


@pytest.mark.parametrize("cursor", ["?", "bm90IGpzb24", "e30"])
async def test_invented_cursor_is_refused(cursor: str) -> None:
    async with world() as here:
        answer = await here.call("list", {"start_cursor": cursor})
    assert (answer.status, answer.json["code"]) == (400, "invalid_cursor")


async def test_version_that_only_the_simulator_lacks_is_refused_by_name() -> None:
    async with world() as here:
        answer = await here.call("get", {"customer_id": "ann"}, version="1.2")
    assert (answer.status, answer.json["code"]) == (501, "not_simulated")


def test_seed_with_an_unknown_field_is_refused() -> None:
    autumn = AutumnSimulator(stripe_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="mail"):
        autumn.seed("ann", mail="ann@example.com")
    assert autumn.customers == {}
