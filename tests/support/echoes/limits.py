"""Cases left out of the property of echoes: Autumn itself loses a value, and no worker could know it.

Two writers that are not the worker never race each other. Each other limit says why. Anything else may happen.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tests.support.echoes.truth import PROFILE, Json

if TYPE_CHECKING:
    from tests.support.echoes.world import EchoWorld

DELIVERY_SECONDS: Final = 240.0
"""How late webhooks are at most: an older value is recognised for 600 s, and a recheck has to follow within those."""
DOUBT_SECONDS: Final = 240.0
"""How long a worker may think that a value was reverted by an update whose answer was lost."""


def may_pass(world: "EchoWorld", seconds: float) -> bool:
    """Whether webhooks that are under way still arrive in time, see `DELIVERY_SECONDS`."""
    return world.unsettled_since is None or world.now() + seconds <= world.unsettled_since + DELIVERY_SECONDS


def may_write(world: "EchoWorld", customer: str, stripe_id: str, fields: Sequence[str]) -> bool:
    """Whether another app or a person may write these fields now.

    Not while webhooks of an earlier such write are under way: Autumn itself loses one of the two then. Not while Stripe
    shows a wrong value in another field: the webhook of this very write carries that to Autumn.
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
    """Whether another app may choose an older value again, as by a flag or by null.

    Not soon after an answer was lost: it looks exactly as if that update had reverted a newer value.
    """
    return world.now() >= world.doubt_until


def may_edit(world: "EchoWorld", customer: str) -> bool:
    """Whether a person may edit the linked customer: an event that replaces the link would lose the edit."""
    return not any("stripe_id" in each["fields"] for each in world.waiting[customer])


def may_empty(world: "EchoWorld", stripe_id: str, field: str) -> bool:
    """Whether a person may empty a field: not where Stripe alone has its right value.

    So it is when a webhook has overwritten the value in Autumn, or is about to: nobody could restore it.
    """
    shown = world.stripe.customers[stripe_id][field]
    in_autumn = {row[field] for row in world.autumn.customers.values() if row["stripe_id"] == stripe_id}
    to_come = {event["data"]["object"][field] for event in _pending(world, stripe_id)}
    return in_autumn | to_come <= {None, shown}


def may_relink(world: "EchoWorld", customer: str) -> bool:
    """Whether an event may replace the link: not while a person's edit is on its way to Autumn by it."""
    pending = _pending(world, world.row(customer)["stripe_id"])
    return not any(event["id"] in world.by_hand for event in pending)


def comes_before_a_sync(world: "EchoWorld", event: Json) -> bool:
    """Whether a webhook is a person's edit that has to arrive before a sync.

    So it is where the sync makes Autumn write something that Stripe announces. A sync that comes before the edit takes
    it for drift and writes over it, and the announcement comes last: no trace of the edit is left in either service.
    """
    is_edit = event["id"] in world.by_hand - world.arrived
    return is_edit and (world.stripe.webhooks.without_change or _autumn_writes(world, event["data"]["object"]["id"]))


def _autumn_writes(world: "EchoWorld", stripe_id: str) -> bool:
    """Whether an event waits for a field that Stripe alone has a value of: Autumn itself overwrites that one."""
    return any(
        world.row(customer)["stripe_id"] == stripe_id
        and world.row(customer)[name] is None
        and any(each["fields"].get(name) for each in world.waiting[customer])
        for customer in world.customers
        for name in PROFILE
    )


def _pending(world: "EchoWorld", stripe_id: str | None) -> list[Json]:
    """The webhooks of a Stripe customer that are under way and that Autumn does not ignore."""
    pending: list[Json] = world.stripe.webhooks.pending
    return [
        event
        for event in pending
        if event["data"]["object"]["id"] == stripe_id
        and not str(event["request"]["idempotency_key"]).startswith("autumn:")
    ]
