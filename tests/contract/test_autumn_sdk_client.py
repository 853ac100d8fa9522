"""Autumn's own Python SDK as a client of the Autumn simulator, by its sync and its async methods.

The SDK uses version 2.5.0, so the simulator is a server of that date. The sync methods run in a thread, because the
simulator serves in the event loop of the test.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from autumn_sdk import Autumn, errors
from autumn_sdk.utils import BackoffStrategy, RetryConfig

from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.support.processes import wait_until

Call = Callable[..., Awaitable[Any]]

AT_ONCE = RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, 10_000), retry_connection_errors=True)
ADDRESS = {"line1": "1 Main Street", "city": "Berlin", "country": "DE", "postal_code": "10115"}
READ_MILLISECONDS = 2000
"""The longest wait of a client for a missing answer, from the end of its request."""
FOR_EVER_SECONDS = 3600.0


@dataclass(frozen=True)
class Service:
    """Both simulators, and the SDK's methods for customers by name."""

    autumn: AutumnSimulator
    stripe: StripeSimulator
    call: Call
    url: str
    is_async: bool


@pytest_asyncio.fixture(params=["sync", "async"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    stripe = StripeSimulator()
    async with serving(stripe.app()) as stripe_url:
        autumn = AutumnSimulator(stripe_url=stripe_url, stripe_key=stripe.key, updates_per_second=None)
        autumn.newest_version = "2.5"
        is_async = request.param == "async"
        async with serving(autumn.app()) as url, connected(url, autumn.key, is_async=is_async) as call:
            yield Service(autumn, stripe, call, url, is_async)


@asynccontextmanager
async def connected(url: str, key: str, *, is_async: bool, **options: Any) -> AsyncIterator[Call]:
    """Yield an SDK for this server, as a function that takes the name of a method and its arguments."""
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Loading the certificates for each test takes long.
    with httpx.Client(verify=plain) as client:
        async with httpx.AsyncClient(verify=plain) as async_client:
            sdk = Autumn(
                key, server_url=url, fail_open=False, client=client, async_client=async_client, **options
            )  # With fail_open a failure of some methods looks like a success.

            async def call(name: str, /, **arguments: Any) -> Any:
                if is_async:
                    return await getattr(sdk.customers, f"{name}_async")(**arguments)
                return await asyncio.to_thread(getattr(sdk.customers, name), **arguments)

            yield call


@contextmanager
def refused(status: int, code: str, message: str | None = None) -> Iterator[None]:
    """Assert that the block is refused with this status, code and message."""
    with pytest.raises(errors.AutumnDefaultError, match=message) as raised:
        yield
    assert raised.value.status_code == status
    assert json.loads(raised.value.body)["code"] == code


async def test_customer_is_created_read_and_deleted(service: Service) -> None:
    made = await service.call(
        "get_or_create", customer_id="ann", name="Ann", email="ann@example.com", fingerprint="f", metadata={"a": 1}
    )
    again = await service.call("get_or_create", customer_id="ann", name="Another")
    read = await service.call("get", customer_id="ann")
    gone = await service.call("delete", customer_id="ann")

    assert (made.id, made.name, made.email, made.fingerprint) == ("ann", "Ann", "ann@example.com", "f")
    assert (made.metadata, made.env, made.stripe_id, made.send_email_receipts) == ({"a": 1}, "sandbox", None, False)
    assert (again.name, read.name, read.created_at) == ("Ann", "Ann", made.created_at)
    assert gone.success
    with refused(404, "customer_not_found"):
        await service.call("get", customer_id="ann")


async def test_customer_is_created_in_stripe_and_deleted_there(service: Service) -> None:
    made = await service.call("get_or_create", customer_id="ann", email="ann@example.com", create_in_stripe=True)

    assert made.processors.stripe.id == made.stripe_id
    assert service.stripe.customers[made.stripe_id]["metadata"]["autumn_id"] == "ann"
    await service.call("delete", customer_id="ann", delete_in_stripe=True)
    assert service.stripe.customers[made.stripe_id]["deleted"]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"name": "Ann & Böb"}, {"name": "Ann & Böb"}),
        ({"name": None}, {"name": None}),
        ({"email": "new@example.com"}, {"email": "new@example.com"}),
        ({"email": None}, {"email": None}),
        ({"fingerprint": "print"}, {"fingerprint": "print"}),
        ({"metadata": {"plan": "pro", "old": None}}, {"metadata": {"kept": [1, {"x": None}], "plan": "pro"}}),
        ({"metadata": None}, {"metadata": {"kept": [1, {"x": None}], "old": "y"}}),
        ({"send_email_receipts": True}, {"send_email_receipts": True}),
        ({"currency": "eur"}, {"name": "Ann"}),
        ({"new_customer_id": "bob"}, {"id": "bob"}),
        ({}, {"name": "Ann"}),
    ],
    ids=str,
)
async def test_each_field_is_updated(service: Service, arguments: dict[str, Any], shown: dict[str, Any]) -> None:
    metadata = {"kept": [1, {"x": None}], "old": "y"}
    service.autumn.seed("ann", name="Ann", email="ann@example.com", metadata=metadata)

    updated = await service.call("update", customer_id="ann", **arguments)
    read = await service.call("get", customer_id=updated.id)

    for field, value in shown.items():
        assert getattr(updated, field) == getattr(read, field) == value


async def test_billing_controls_and_config_are_updated(service: Service) -> None:
    service.autumn.seed("ann")
    alert = {"feature_id": "messages", "threshold": 10, "threshold_type": "usage"}

    updated = await service.call(
        "update",
        customer_id="ann",
        billing_controls={"usage_alerts": [alert]},
        config={"disable_overage_billing": True},
    )

    (shown,) = updated.billing_controls.usage_alerts
    assert (shown.feature_id, shown.threshold, shown.enabled, shown.source) == ("messages", 10, True, "customer")
    assert updated.config.disable_overage_billing


async def test_customer_is_linked_and_unlinked(service: Service) -> None:
    service.autumn.seed("ann", name="Ann")
    stripe_id = service.stripe.seed_customer()["id"]

    linked = await service.call("update", customer_id="ann", stripe_id=stripe_id, email="ann@example.com")
    unlinked = await service.call("update", customer_id="ann", stripe_id=None)

    assert (linked.stripe_id, linked.processors.stripe.id) == (stripe_id, stripe_id)
    assert service.stripe.customers[stripe_id]["email"] == "ann@example.com"
    assert (unlinked.stripe_id, unlinked.processors) == (None, None)


async def test_billing_details_reach_the_linked_stripe_customer(service: Service) -> None:
    stripe_id = service.stripe.seed_customer()["id"]
    service.autumn.seed("ann", stripe_id=stripe_id)
    service.autumn.seed("bob")

    await service.call("update", customer_id="ann", billing_details={"address": ADDRESS, "tax_exempt": "reverse"})
    customer = service.stripe.customers[stripe_id]
    assert customer["address"] == {"line2": None, "state": None, **ADDRESS}
    assert customer["tax_exempt"] == "reverse"

    await service.call("update", customer_id="ann", billing_details={"address": None})
    assert service.stripe.customers[stripe_id]["address"] is None
    with refused(400, "invalid_request"):
        await service.call("update", customer_id="bob", billing_details={"tax_exempt": "exempt"})


async def test_tax_ids_and_invoice_settings_are_stored_for_the_stripe_customer(service: Service) -> None:
    stripe_id = service.stripe.seed_customer()["id"]
    service.autumn.seed("ann", stripe_id=stripe_id)
    german, british = {"type": "eu_vat", "value": "DE123456789"}, {"type": "gb_vat", "value": "GB123456789"}
    custom = {"invoice_settings": {"custom_fields": [{"name": "PO Number", "value": "42"}]}}

    for details in (
        {"tax_ids": {"add": [german, german]}, **custom},
        {"tax_ids": {"add": [german, british]}},
        {"tax_ids": {"remove": [german, {"type": "us_ein", "value": "none"}]}},
    ):
        await service.call("update", customer_id="ann", billing_details=details)
    stored = service.autumn.organisation.invoice_details[stripe_id]
    assert (stored.tax_ids, stored.custom_fields) == ((("gb_vat", "GB123456789"),), (("PO Number", "42"),))

    await service.call("update", customer_id="ann", billing_details={"invoice_settings": {"custom_fields": None}})
    assert service.autumn.organisation.invoice_details[stripe_id].custom_fields == ()
    with refused(400, "stripe_error", "Invalid value for eu_vat"):
        wrong = {"tax_ids": {"add": [{"type": "eu_vat", "value": "1"}]}}
        await service.call("update", customer_id="ann", billing_details=wrong)


async def test_billing_details_of_a_new_customer_are_not_simulated(service: Service) -> None:
    with refused(501, "not_simulated"):
        await service.call("get_or_create", customer_id="bob", billing_details={"tax_exempt": "exempt"})


async def test_pages_are_read_to_the_end(service: Service) -> None:
    for second in range(7):
        service.autumn.seed(f"customer-{second}", created_at=second * 1000)
    walked: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        page = await service.call("list", start_cursor=cursor, limit=3)
        walked += [each.id for each in page.list]
        cursor, pages = page.next_cursor, pages + 1

    oldest_first = await service.call("list", sort_order="asc")
    assert (pages, walked) == (3, [f"customer-{second}" for second in range(6, -1, -1)])
    assert [each.id for each in oldest_first.list] == walked[::-1]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"search": "ANN"}, ["ann"]),
        ({"processors": ["stripe"]}, ["bob"]),
        ({"created_at_range": {"start": 1500}}, ["bob"]),
        ({"created_at_range": {"end": 1500}}, ["ann"]),
        ({"plans": [{"id": "pro"}]}, []),
    ],
    ids=str,
)
async def test_list_is_filtered(service: Service, arguments: dict[str, Any], found: list[str]) -> None:
    service.autumn.seed("ann", name="Ann", created_at=1000)
    service.autumn.seed("bob", stripe_id="cus_bob", created_at=2000)

    assert [each.id for each in (await service.call("list", **arguments)).list] == found


async def test_too_large_page_and_invalid_cursor_are_refused(service: Service) -> None:
    service.autumn.largest_page = 200

    with refused(400, "invalid_request", "exceeds max of 200"):
        await service.call("list", limit=1000)
    with refused(400, "invalid_inputs", "<=5000"):
        await service.call("list", limit=5001)
    with refused(400, "invalid_cursor"):
        await service.call("list", start_cursor="none")


async def test_refusal_of_autumn_is_an_error_with_its_code(service: Service) -> None:
    service.autumn.seed("ann")
    service.autumn.seed("bob")
    gone = service.stripe.seed_customer(deleted=True)["id"]

    with refused(404, "customer_not_found", "Customer none not found"):
        await service.call("update", customer_id="none")
    with refused(404, "customer_not_found"):
        await service.call("delete", customer_id="none")
    with refused(400, "invalid_inputs", "not a valid email address"):
        await service.call("update", customer_id="ann", email="")
    with refused(400, "invalid_inputs", "customer_id: cannot contain spaces"):
        await service.call("get_or_create", customer_id="a b")
    with refused(400, "invalid_request", "Either customer ID or email is required"):
        await service.call("get_or_create", customer_id=None)
    with refused(409, "customer_already_exists"):
        await service.call("update", customer_id="ann", new_customer_id="bob")
    with refused(400, "stripe_error", "No such customer"):
        await service.call("update", customer_id="ann", stripe_id="cus_none")
    with refused(400, "stripe_error", "No such customer"):
        await service.call("update", customer_id="ann", stripe_id=gone)


async def test_idempotency_key_is_used_once(service: Service) -> None:
    service.autumn.seed("ann")
    headers = {"Idempotency-Key": "once"}

    await service.call("update", customer_id="ann", name="Ann", http_headers=headers)
    with refused(409, "duplicate_idempotency_key"):
        await service.call("update", customer_id="ann", name="Ann", http_headers=headers)


async def test_wrong_key_and_unknown_version_are_refused(service: Service) -> None:
    for key, code in (("am_sk_test_wrong", "invalid_secret_key"), ("sk_other", "invalid_request")):
        async with connected(service.url, key, is_async=service.is_async) as call:
            with refused(401, code):
                await call("list")
    service.autumn.newest_version = "2.3"
    with refused(400, "invalid_api_version", "2.5.0"):
        await service.call("list")


async def test_sdk_reads_an_older_version(service: Service) -> None:
    service.autumn.newest_version = "2.3"
    service.autumn.seed("ann", name="Ann")

    async with connected(service.url, service.autumn.key, is_async=service.is_async, x_api_version="2.3") as call:
        assert (await call("update", customer_id="ann", email="ann@example.com")).email == "ann@example.com"
        assert [each.id for each in (await call("list")).list] == ["ann"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("400", 400, "invalid_request"),
        ("403", 403, "insufficient_scopes"),
        ("500", 500, "internal_error"),
        ("503", 503, "service_unavailable"),
    ],
)
async def test_failure_is_an_error_with_its_code(service: Service, kind: Any, status: int, code: str) -> None:
    service.autumn.switches.add(Fault(kind))

    with refused(status, code):
        await service.call("get_or_create", customer_id="ann")


async def test_limit_is_a_plain_text_error_with_retry_time(service: Service) -> None:
    service.autumn.limiter.updates_per_second = 0

    with pytest.raises(errors.AutumnDefaultError, match="Too many requests") as raised:
        await service.call("update", customer_id="ann")

    assert raised.value.status_code == 429
    assert raised.value.headers["retry-after"] == "1"
    assert raised.value.headers["content-type"].startswith("text/plain")
    assert raised.value.headers["ratelimit-limit"] == "0"


async def test_temporary_failure_is_retried(service: Service) -> None:
    service.autumn.seed("ann")
    service.autumn.switches.add(Fault("500", times=1))

    assert (await service.call("update", customer_id="ann", name="Ann", retries=AT_ONCE)).name == "Ann"


async def test_answer_that_is_not_json_is_an_error(service: Service) -> None:
    service.autumn.switches.add(Fault("garbage"))

    with pytest.raises(errors.AutumnDefaultError, match="Unexpected response received"):
        await service.call("list")


@pytest.mark.parametrize("kind", ["cut", "lost"])
async def test_cut_connection_is_an_error(service: Service, kind: Any) -> None:
    service.autumn.seed("ann")
    service.autumn.switches.add(Fault(kind, times=1))

    with pytest.raises(httpx.TransportError):
        await service.call("update", customer_id="ann", name="Ann")

    assert (await service.call("get", customer_id="ann")).name == ("Ann" if kind == "lost" else None)


async def test_write_may_have_happened_after_a_time_out(service: Service) -> None:
    switches = service.autumn.switches
    service.autumn.seed("ann")
    switches.add(Fault("hang", times=1, seconds=FOR_EVER_SECONDS))

    with pytest.raises(httpx.ReadTimeout):
        await service.call("update", customer_id="ann", name="Ann", timeout_ms=READ_MILLISECONDS)
    assert switches.fired == {"hang": 1}
    assert (await service.call("get", customer_id="ann")).name is None

    switches.release()

    async def written() -> bool:
        return bool((await service.call("get", customer_id="ann")).name == "Ann")

    await wait_until(written)
