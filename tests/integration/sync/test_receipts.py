"""The receipts flag and its effect on payments, with crashes, lost answers and later changes of the flag."""

import asyncio
from dataclasses import replace

import pytest

from jobs.queue.breaker import read_breaker
from jobs.queue.record import read_customer
from jobs.stripe.client import open_stripe
from jobs.sync.report import SyncReport, read_reports
from sandbox.faults import Fault, Kind
from tests.conftest import PREFIX, World, read_dead
from tests.support.payments import EMAIL, address, flag, paid, payment, plant
from tests.support.steps import change, reconcile, time_passes, under


def payment_calls(world: World) -> list[str]:
    return [call.endpoint for call in world.stripe.calls if call.endpoint.startswith("payment_intents")]


async def last_report(world: World) -> SyncReport:
    return read_reports((await read_customer(world.redis, PREFIX, "ann")).reports)[0]


async def test_payments_are_not_read_if_flag_was_never_on(world: World) -> None:
    world = under(world, receipts="recover")
    payment(world, plant(world))
    await change(world, "ann", name="Ann")
    await world.run()
    assert payment_calls(world) == []


async def test_payments_are_read_in_one_request(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world)
    for _ in range(3):
        payment(world, customer)
    await flag(world, on=True)
    assert payment_calls(world) == ["payment_intents.list", *["payment_intents.update"] * 3]
    (listing,) = [call for call in world.stripe.calls if call.endpoint == "payment_intents.list"]
    assert listing.params == {"customer": customer, "limit": "100"}


async def test_flag_turned_off_removes_only_addresses_we_set(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world)
    ours, apps, changed = (payment(world, customer, receipt_email=each) for each in (None, "app@example.com", None))
    await flag(world, on=True)
    assert (address(world, ours), address(world, apps)) == (EMAIL, "app@example.com")
    world.stripe.payment_intents[changed]["receipt_email"] = "other@example.com"
    await flag(world, on=False)
    assert [address(world, each) for each in (ours, apps, changed)] == [None, "app@example.com", "other@example.com"]
    assert world.stripe.customers[customer]["metadata"]["autumn_send_email_receipts"] == "false"
    await flag(world, on=True)
    assert address(world, ours) == EMAIL
    assert world.stripe.mails == []


@pytest.mark.parametrize("why", ["there is no room", "somebody removed it"])
async def test_address_is_removed_if_stripe_lacks_flag(world: World, why: str) -> None:
    world = under(world, receipts="open")
    keys = 49 if why == "there is no room" else 0
    metadata = {"autumn_id": "ann", **{f"k{index}": "theirs" for index in range(keys)}}
    customer = plant(world, on=True, metadata=metadata)
    intent = payment(world, customer)
    await reconcile(world, "ann")
    await world.run()
    assert address(world, intent) == EMAIL
    world.stripe.customers[customer]["metadata"].pop("autumn_send_email_receipts", None)
    await flag(world, on=False)
    assert address(world, intent) is None


async def test_crash_between_two_payments_skips_neither(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world, on=True)
    intents = [payment(world, customer) for _ in range(3)]
    await reconcile(world, "ann")
    await world.run()
    world.stripe.switches.add(Fault("503", route="POST /v1/payment_intents", times=1))
    await flag(world, on=False)
    assert world.stripe.customers[customer]["metadata"]["autumn_send_email_receipts"] == "true", "off is shown last"
    await time_passes(world)
    await world.run()
    assert [address(world, each) for each in intents] == [None, None, None]
    assert world.stripe.customers[customer]["metadata"]["autumn_send_email_receipts"] == "false"


@pytest.mark.parametrize("kind", ["lost", "cut", "500", "503", "garbage", "429"])
async def test_recover_mails_once_despite_lost_answers(world: World, kind: Kind) -> None:
    world = under(world, receipts="recover")
    customer = plant(world)
    intent = paid(world, customer)
    world.stripe.switches.add(Fault(kind, route="POST /v1/payment_intents", times=1))
    await flag(world, on=True)
    for _ in range(3):
        await time_passes(world)
        await world.run()
    assert [(mail.payment_intent, mail.address) for mail in world.stripe.mails] == [(intent, EMAIL)]
    assert await read_dead(world.redis) == []


async def test_recover_never_mails_twice_after_address_change(world: World) -> None:
    world = under(world, receipts="recover")
    intent = paid(world, plant(world))
    world.stripe.switches.add(Fault("lost", route="POST /v1/payment_intents", times=1))
    await flag(world, on=True)
    await change(world, "ann", email="new@example.com")
    await time_passes(world)
    await world.run()
    assert [mail.address for mail in world.stripe.mails] == [EMAIL]
    assert address(world, intent) == EMAIL


async def test_recover_skips_old_addressed_and_cleared_payments(world: World) -> None:
    world = under(world, receipts="recover", recover_seconds=7200.0)
    customer = plant(world)
    paid(world, customer, hours_ago=3)
    paid(world, customer, receipt_email="app@example.com")
    await flag(world, on=True)
    assert world.stripe.mails == []
    mine = paid(world, customer)
    await reconcile(world, "ann")
    await world.run()
    assert [mail.payment_intent for mail in world.stripe.mails] == [mine]
    world.stripe.payment_intents[mine]["receipt_email"] = None
    await reconcile(world, "ann")
    await world.run()
    assert len(world.stripe.mails) == 1


async def test_recover_never_mails_again_after_address_was_cleared(world: World) -> None:
    world = under(world, receipts="recover")
    intent = paid(world, plant(world), receipt_email="app@example.com")
    world.stripe.account.payments.update(intent, {"receipt_email": ""})
    await flag(world, on=True)
    assert (address(world, intent), world.stripe.mails) == (None, [])


async def test_customer_is_claimed_before_receipt_addresses_are_removed(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world)
    intent = payment(world, customer)
    await flag(world, on=True)
    world.stripe.account.customers.update(customer, {"metadata": {"autumn_id": ""}})
    writes = len(world.stripe.writes)
    await flag(world, on=False)
    ours = [write.changed for write in world.stripe.writes[writes:] if write.why != "Autumn itself"]
    assert [sorted(changed) for changed in ours] == [
        ["metadata.autumn_id"],
        ["metadata.autumn_receipt_email", "receipt_email"],
        ["metadata.autumn_send_email_receipts"],
    ]
    assert address(world, intent) is None


async def test_address_set_by_app_after_fetch_is_not_changed(world: World) -> None:
    world = under(world, receipts="recover")
    intent = paid(world, plant(world))
    world.stripe.switches.add(Fault("hang", route="GET /v1/payment_intents/", times=1, seconds=3600))
    running = asyncio.create_task(flag(world, on=True))
    while not world.stripe.switches.fired:
        await world.redis.ping()
    world.stripe.payment_intents[intent]["receipt_email"] = "app@example.com"
    world.stripe.switches.release()
    await running
    assert (address(world, intent), world.stripe.mails) == ("app@example.com", [])


async def test_refused_payment_write_becomes_finding_and_blocks_nothing(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world)
    intent = payment(world, customer)
    other = payment(world, customer)
    world.stripe.payment_intents[intent]["metadata"] = {f"k{index}": "v" for index in range(50)}
    await flag(world, on=True)
    assert (address(world, intent), address(world, other)) == (None, EMAIL)
    assert [finding.kind for finding in (await last_report(world)).findings] == ["receipt-not-set"]


@pytest.mark.parametrize("mode", ["mirror", "open", "recover"])
@pytest.mark.parametrize(
    ("link", "reason"), [("none", "not linked"), ("gone", "gone"), ("no address", "no e-mail address")]
)
async def test_flag_without_effect_becomes_finding_with_reason(world: World, mode: str, link: str, reason: str) -> None:
    world = under(world, receipts=mode, when_unlinked="report", when_gone="report")
    if link == "no address":
        plant(world, email=None)
    else:
        world.autumn.seed("ann", email=EMAIL, stripe_id="cus_gone" if link == "gone" else None)
    world.autumn.customers["ann"]["send_email_receipts"] = True
    await reconcile(world, "ann")
    await world.run()
    found = {finding.kind: finding.text for finding in (await last_report(world)).findings}
    assert reason in found["receipts-cannot-be-sent"]
    assert world.stripe.writes == [] or link == "no address"


async def test_missing_permission_for_payments_halts_and_is_named(world: World) -> None:
    payment(world, plant(world))
    world.stripe.missing_permissions.add("rak_payment_intent_read")
    async with open_stripe(
        api_key=world.stripe.restricted_key, base_url=world.autumn.stripe.url, throttle=world.deps.limits.stripe
    ) as stripe:
        restricted = replace(under(world, receipts="open").deps, stripe=stripe)
        await flag(replace(world, deps=restricted), on=True)
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.reason) == ("halt", "missing_permission")
    assert "rak_payment_intent_read" in breaker.message
