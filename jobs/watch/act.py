"""Act on one event of Stripe, from a poll or a webhook: find its customers, and request their reconciles.

The event is only a hint. A needless reconcile is harmless, so a doubt leads to one.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from jobs.autumn.client import AutumnClient
from jobs.errors import GiveUp, describe
from jobs.plan.customer import Mode
from jobs.plan.policy import Policy
from jobs.plan.profile import digest_of
from jobs.plan.recheck import Memory
from jobs.queue.record import read_remembered
from jobs.queue.watch.links import LinkedCustomer, Links
from jobs.queue.watch.queue import CustomerNote, EditDigests, EventNote, Receipt, WatchQueue
from jobs.queue.watch.request_ids import request_id
from jobs.stripe.events import EventAnswer
from jobs.watch.events import TYPES, Edited, Hint, StripeEvent, followed_types, from_answer, judge

log = structlog.get_logger(__name__)

CONFIRM_SECONDS: Final = 2.0
"""The time limit to confirm a customer in Autumn. After it, a reconcile is requested without the answer."""
DELETION_SECONDS: Final = 5.0
"""The delay of the reconcile after a deletion in Stripe. Autumn may be deleting the customer on both sides, Stripe
first. A sync that reads Autumn before it is done would create the Stripe customer again."""
FIELDS_NOTED: Final = 20
ORPHAN, FOREIGN, UNKNOWN, RECEIPTS_OFF = "orphan", "foreign", "unknown", "receipts_off"
AUTUMN, UNREADABLE, RECEIPT_SENT, IRRELEVANT = "autumn", "unreadable", "receipt_sent", "irrelevant"
_OF_THE_SCRIPT: Final = frozenset({"requested", "deferred"})
"""Outcomes that the script refines: a request may still wait."""


@dataclass(frozen=True)
class Found:
    """The customers that an event is about, or else the reason why there is none."""

    customers: Sequence[str]
    reason: str = ""


@dataclass(frozen=True)
class Actor:
    """The dependencies to act on an event. `now` returns seconds since the epoch."""

    queue: WatchQueue
    links: Links
    autumn: AutumnClient
    policy: Policy
    mode: Mode
    now: Callable[[], float]

    @property
    def types(self) -> tuple[str, ...]:
        """The types of events that may lead to something."""
        return followed_types(self.policy)

    async def receive(self, answer: EventAnswer) -> None:
        """Act on an event as Stripe sent it. Raises RedisError: then the call may be repeated.

        An event that cannot be read is counted. It stops no other one.
        """
        if not answer.wrong and answer.type not in TYPES:
            return
        try:
            event = from_answer(answer)
            if event is not None:
                await self.act(event)
                return
        except RedisError:
            raise
        except Exception as error:
            log.error("stripe_event_failed", stripe_event=answer.id, type=_known(answer.type), cause=describe(error))
        # Without an id, it is counted by its time.
        event_id = answer.id or f"unreadable-{answer.created}"
        await self.queue.note(EventNote(event_id, _known(answer.type), answer.created, UNREADABLE))

    async def act(self, event: StripeEvent) -> str | None:
        """Note the event and request the reconciles that it leads to.

        Return its outcome; None if it was noted before. Raises RedisError: then the call may be repeated.
        """
        hint = judge(event, metadata_keys=self.policy.metadata_keys, mode=self.mode)
        if not hint.when and hint.outcome != RECEIPT_SENT:
            return await self.queue.note(_note(event, hint.outcome))
        if not await self.queue.unseen([event.id]):
            return None
        if event.type.startswith("customer."):
            return await self._act_on_customer(event, hint)
        return await self._act_on_payment(event, hint)

    async def _act_on_customer(self, event: StripeEvent, hint: Hint) -> str | None:
        found = await self._customers_of(event)
        if not found.customers:
            return await self.queue.note(_note(event, found.reason))
        ours = [customer for customer in found.customers if hint.edits and await self._is_ours(customer, hint.edits)]
        notes = [self._customer_note(event, hint, each, is_ours=each in ours) for each in found.customers]
        acting = [note for note in notes if note.request or note.later_request]
        outcome = _named(hint) if acting else AUTUMN
        return await self.queue.note(_note(event, outcome, acting))

    def _customer_note(self, event: StripeEvent, hint: Hint, customer: str, *, is_ours: bool) -> CustomerNote:
        is_later = "later" in hint.when and not is_ours
        return CustomerNote(
            customer,
            request=request_id(event, customer, later=False) if "now" in hint.when else "",
            wait_seconds=DELETION_SECONDS if event.type == "customer.deleted" else 0.0,
            later_request=request_id(event, customer, later=True) if is_later else "",
            edits={} if is_ours else _digests(customer, hint.edits),
            note=_summary(event),
        )

    async def _act_on_payment(self, event: StripeEvent, hint: Hint) -> str | None:
        link = await self.links.customer_of(event.stripe_id)
        receipts = [Receipt(link.customer_id, event.receipt_number)] if link and event.receipt_number else []
        if receipts or link is None or not self._needs_sync(event, link):
            reason = RECEIPT_SENT if event.receipt_number else self._why_needless(link)
            notes = [CustomerNote(each.customer, note=_summary(event)) for each in receipts]
            outcome = await self.queue.note(_note(event, reason, notes, receipts))
            if link is not None and receipts and outcome is not None:
                log.info("receipt_proven", customer=link.customer_id, stripe_event=event.id)
            return outcome
        request = request_id(event, link.customer_id, later=False)
        note = CustomerNote(link.customer_id, request=request, note=_summary(event))
        return await self.queue.note(_note(event, _named(hint), [note]))

    def _needs_sync(self, event: StripeEvent, link: LinkedCustomer) -> bool:
        """Whether a sync would read the payment. An invoice without an address is a finding under any policy."""
        return link.receipts_on and (self.policy.reads_payments or event.type == "invoice.finalized")

    def _why_needless(self, link: LinkedCustomer | None) -> str:
        if link is None:
            return UNKNOWN
        return IRRELEVANT if link.receipts_on else RECEIPTS_OFF

    async def _customers_of(self, event: StripeEvent) -> Found:
        """Return the customers of a customer event: its owners, or else the linked one, as far as Autumn agrees."""
        link = await self.links.customer_of(event.stripe_id)
        candidates = event.owners or (() if link is None else (link.customer_id,))
        if not candidates:
            return Found((), UNKNOWN)
        if link is not None and candidates == (link.customer_id,):
            return Found(candidates)
        reasons = await asyncio.gather(*(self._reason_against(each, event) for each in candidates))
        found = [each for each, reason in zip(candidates, reasons, strict=True) if not reason]
        return Found(found, FOREIGN if FOREIGN in reasons else ORPHAN)

    async def _reason_against(self, candidate: str, event: StripeEvent) -> str:
        """Return why the event is not about this customer of Autumn, or an empty text.

        Autumn is not asked while it is known to be down.
        """
        breaker = await self.queue.breaker()
        if breaker is not None and breaker.service == "autumn":
            return ""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                customer = await self.autumn.get(candidate)
        except GiveUp:
            return ORPHAN
        except RedisError:
            raise
        except Exception:
            # A reconcile finds out. One that is needless does no harm.
            return ""
        is_owner = candidate in event.owners[:1]
        return "" if customer.stripe_id == event.stripe_id or (is_owner and not customer.stripe_id) else FOREIGN

    async def _is_ours(self, customer: str, edits: Mapping[str, Edited]) -> bool:
        """Whether a sync wrote all of these values last. Then Autumn's own update of Stripe caused the event."""
        now = self.now()
        kept = read_remembered(await self.queue.remembered(customer), now)
        fields = Memory.read(customer, kept or {}, now).fields
        return all(
            name in fields and digest_of(customer, name, edit.value) in {*fields[name].newest, fields[name].unaccepted}
            for name, edit in edits.items()
        )


def _note(
    event: StripeEvent, outcome: str, customers: Sequence[CustomerNote] = (), receipts: Sequence[Receipt] = ()
) -> EventNote:
    return EventNote(event.id, _known(event.type), event.created, outcome, customers, receipts)


def _digests(customer: str, edits: Mapping[str, Edited]) -> dict[str, EditDigests]:
    return {
        name: EditDigests(digest_of(customer, name, edit.value), digest_of(customer, name, edit.before))
        for name, edit in edits.items()
    }


def _known(kind: str) -> str:
    """Return the type of an event. A webhook may be set up to send any type, and each one would be a counter."""
    return kind if kind in TYPES else "other"


def _named(hint: Hint) -> str:
    """Return the outcome that the hint names, or an empty text if the script finds it."""
    return "" if hint.outcome in _OF_THE_SCRIPT else hint.outcome


def _summary(event: StripeEvent) -> str:
    """Return the event for the customer record, without any value."""
    fields = sorted(event.changed)[:FIELDS_NOTED]
    return json.dumps({"at_ms": event.created * 1000, "type": event.type, "cause": str(event.cause), "fields": fields})
