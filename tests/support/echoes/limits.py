"""Cases that the property of echoes leaves out, because Autumn itself loses a value and no worker could know it.

Two writers other than the worker never race each other. Each limit below gives its reason. Everything else may happen.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tests.support.echoes.truth import PROFILE, Json

if TYPE_CHECKING:
    from tests.support.echoes.world import EchoWorld

DELIVERY_SECONDS: Final = 240.0
"""The longest delay of webhooks. An older value is recognised for 600 s, and a recheck must follow within those."""
DOUBT_SECONDS: Final = 240.0
"""The time for which a worker may suspect that an update with a lost answer reverted a value."""


def may_pass(world: "EchoWorld", seconds: float) -> bool:
    """Whether webhooks that are pending still arrive in time, see `DELIVERY_SECONDS`."""
    return world.unsettled_since is None or world.now() + seconds <= world.unsettled_since + DELIVERY_SECONDS


def may_write(world: "EchoWorld", customer: str, stripe_id: str, fields: Sequence[str]) -> bool:
    """Whether another app or a person may write these fields now.

    Not while webhooks of an earlier such write are pending, because Autumn itself loses one of the two then. Not while
    Stripe shows a wrong value in another field, because the webhook of this write carries that value to Autumn.
    """
    if any(event["id"] in world.foreign for event in _pending(world, stripe_id)):
        return False
    if stripe_id != world.row(customer)["stripe_id"]:
        return True
    truth, shown = world.truths[customer], world.stripe.customers[stripe_id]
    return all(
        truth.is_right(name, shown[name], [each["fields"].get(name) for each in world.waiting[customer]])
        for name in PROFILE
        if name not in fields
    )


def may_choose_again(world: "EchoWorld") -> bool:
    """Whether another app may choose an older value again, as with a flag or null.

    Not soon after an answer was lost: it looks exactly as if that update had reverted a newer value.
    """
    return world.now() >= world.doubt_until


def may_edit(world: "EchoWorld", customer: str) -> bool:
    """Whether a person may edit the linked customer. An event that replaces the link would lose the edit."""
    return not any("stripe_id" in each["fields"] for each in world.waiting[customer])


def may_empty(world: "EchoWorld", stripe_id: str, field: str) -> bool:
    """Whether a person may empty a field. Not if Stripe alone has its right value, because nothing could restore it.

    That is so if a webhook has overwritten the value in Autumn, or is about to.
    """
    shown = world.stripe.customers[stripe_id][field]
    in_autumn = {row[field] for row in world.autumn.customers.values() if row["stripe_id"] == stripe_id}
    to_come = {event["data"]["object"][field] for event in _pending(world, stripe_id)}
    return in_autumn | to_come <= {None, shown}


def may_relink(world: "EchoWorld", customer: str) -> bool:
    """Whether an event may replace the link. Not while a person's edit is on its way to Autumn by that link."""
    pending = _pending(world, world.row(customer)["stripe_id"])
    return not any(event["id"] in world.by_hand for event in pending)


def comes_before_a_sync(world: "EchoWorld", event: Json) -> bool:
    """Whether a webhook is a person's edit that has to arrive before a sync.

    It has to if the sync makes Autumn write something that Stripe announces. A sync before the edit takes it for drift
    and overwrites it, and the announcement arrives last. Then neither service has a trace of the edit.
    """
    is_edit = event["id"] in world.by_hand - world.arrived
    return is_edit and (world.stripe.webhooks.without_change or _autumn_writes(world, event["data"]["object"]["id"]))


def _autumn_writes(world: "EchoWorld", stripe_id: str) -> bool:
    """Whether an event waits for a field that only Stripe has a value of. Autumn itself overwrites that value."""
    return any(
        world.row(customer)["stripe_id"] == stripe_id
        and world.row(customer)[name] is None
        and any(each["fields"].get(name) for each in world.waiting[customer])
        for customer in world.customers
        for name in PROFILE
    )


def _pending(world: "EchoWorld", stripe_id: str | None) -> list[Json]:
    """Return the pending webhooks of a Stripe customer, except those that Autumn ignores."""
    pending: list[Json] = world.stripe.webhooks.pending
    return [
        event
        for event in pending
        if event["data"]["object"]["id"] == stripe_id
        and not str(event["request"]["idempotency_key"]).startswith("autumn:")
    ]
