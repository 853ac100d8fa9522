"""The writes of a sync, each with its throttle, lease check, idempotency key and line in the report.

`jobs.plan.plan` decides which writes are needed, and `jobs.sync.apply` their order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue

from jobs.autumn.errors import NOT_IN_AUTUMN
from jobs.autumn.models import UpdateCustomerResponse
from jobs.errors import Absent, GiveUp, TryAgain
from jobs.plan.customer import PaymentIntent, Payments, StripeCustomer
from jobs.plan.findings import Finding, odd_details
from jobs.plan.plan import NEEDS_REVIEW, LinkState
from jobs.plan.recheck import Memory
from jobs.plan.steps import RECEIPT_MARK, ReceiptStep, SetReceiptEmail, UpdateStripe
from jobs.queue.batch import Batch
from jobs.queue.record import CustomerRecord
from jobs.queue.watch.links import Link
from jobs.stripe.client import RETRIEVE, UPDATE, Created, idempotency_key
from jobs.sync.deps import Deps
from jobs.sync.fetch import fetch_payments, find_linked_elsewhere
from jobs.sync.report import Action, ActionKind

LAND_SECONDS: Final = 60.0
"""The time in which an abandoned write to Stripe may still be applied."""
CREATE_TRIES: Final = 5
GENERATIONS_AT_A_TIME: Final = 3
SEARCH_LAG_SECONDS: Final = 3600.0
"""The longest delay of Stripe's search index, according to Stripe."""
TAX_IDS: Final = "POST /v1/customers/{id}/tax_ids"
"""An endpoint of Stripe that only Autumn calls, for billing details."""
_ITS_OWN: Final = frozenset({LinkState.LINKED, LinkState.UNCLAIMED})
"""The states in which the linked Stripe customer belongs to the Autumn customer."""


@dataclass
class Writes:
    """The writes of one sync. `record` is the new customer record. The sync adds to the other fields."""

    deps: Deps
    batch: Batch
    record: CustomerRecord = field(init=False)
    totals: Counter[str] = field(default_factory=Counter)
    actions: list[Action] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Findings besides those of the plan: writes that were refused or left out, and that stop no other write."""
    any_begun: bool = False
    """Whether a write to a service was started."""
    has_link: bool = False
    """Whether this sync has noted the link in the record."""
    receipts_on: bool = False
    """Whether receipts are on, by the last answer of Autumn."""
    is_unknown: bool = False
    """Whether Autumn does not know the customer."""

    def __post_init__(self) -> None:
        """Copy the record of the last sync."""
        self.record = self.batch.record

    def note_link(self, link: str, stripe_id: str, receipts: str) -> None:
        """Store the fetched link in the record, and why receipts cannot be sent; "" if they can."""
        self.record = replace(self.record, link=link, stripe_id=stripe_id, receipts=receipts)
        self.has_link = True

    @property
    def watched_link(self) -> Link | None:
        """The link for the index of the watch, without a Stripe customer of another; None if it was not fetched."""
        if self.is_unknown:
            return Link("")
        if not self.has_link:
            return None
        return Link(self.record.stripe_id if self.record.link in _ITS_OWN else "", self.receipts_on)

    async def claim(self, target: StripeCustomer | None) -> None:
        """Claim the Stripe customer for this Autumn customer. Raises TryAgain if another one holds the claim."""
        mailbox = self.deps.mailbox
        if target is not None and not await mailbox.claim(target.id, self.batch.customer_id):
            raise TryAgain("stripe", "claimed_elsewhere", f"another customer is being linked to {target.id}")

    async def remember(self, memory: Memory) -> None:
        """Store what this sync remembers before it writes. Raises LeaseLostError if the lease is lost."""
        await self.deps.mailbox.remember(self.batch.lease, memory.as_dict(), memory.seconds)

    async def read_autumn(self, *, may_create: bool) -> UpdateCustomerResponse:
        """Return the customer in Autumn. Create it if the policy and `may_create` say so. Raises SyncError."""
        autumn, customer_id = self.deps.autumn, self.batch.customer_id
        self.totals["autumn_gets"] += 1
        try:
            answer = await autumn.get(customer_id)
        except GiveUp as error:
            is_wanted = may_create and self.deps.policy.when_missing == "create"
            if error.code != NOT_IN_AUTUMN or not is_wanted:
                raise
            await self._refuse_old_id(customer_id)
            async with self.deps.limits.autumn_create():
                self._begin("autumn_creates")
                answer = await autumn.get_or_create(customer_id)
            self._note("created-in-autumn", customer_id)
        self._note_answer(answer)
        return answer

    def _note_answer(self, answer: UpdateCustomerResponse) -> None:
        self.receipts_on = answer.send_email_receipts
        self.findings += [each for each in odd_details(answer.oddities) if each not in self.findings]

    async def _refuse_old_id(self, customer_id: str) -> None:
        """Raise GiveUp if a Stripe customer carries this id and another Autumn customer is linked to it.

        This happens after a rename in Autumn. A new customer with the old id would share that Stripe customer.
        """
        ours, _ = await self.deps.stripe.find_ours(customer_id, None)
        if not ours:
            return
        elsewhere = await find_linked_elsewhere(self.deps.autumn, self.deps.limits, customer_id, ours)
        for stripe_id, other in elsewhere.items():
            link = f"the Autumn customer {other} is linked to it" if other else "its Autumn customer was not found"
            text = (
                f"Autumn has no customer {customer_id}, and {stripe_id} carries that id as its metadata.autumn_id: "
                f"{link}. If {customer_id} was renamed, send its changes under the new id, and correct "
                f"metadata.autumn_id of {stripe_id} in Stripe. Then replay this"
            )
            raise GiveUp("stripe", NEEDS_REVIEW, text)

    async def read_payments(self, stripe_id: str) -> Payments:
        """Return the customer's newest payments. Raises SyncError."""
        self.totals["payment_lists"] += 1
        # Set even if no payment is written: a worker that dies during a write stores nothing afterwards.
        self.record = replace(self.record, payments_read=True)
        return await fetch_payments(self.deps.stripe, stripe_id, self.deps.policy)

    async def update_autumn(self, changes: Mapping[str, JsonValue], linked: str | None) -> UpdateCustomerResponse:
        """Send an update to Autumn. `linked` is the Stripe customer that it is linked to before. Raises SyncError."""
        customer_id = self.batch.customer_id
        async with self.deps.limits.autumn_update(stripe_endpoints=_autumns_requests(changes, linked)):
            self._begin("autumn_updates")
            answer = await self.deps.autumn.update(customer_id, changes)
        self._note_answer(answer)
        self._note("updated-autumn", customer_id, sorted(changes))
        return answer

    async def create_in_stripe(self, autumn_id: str) -> Created:
        """Return the Stripe customer of an Autumn id, created now or by an earlier try. Raises SyncError.

        Stripe answers a repeated create with the first answer, so the customer is fetched afterwards. If it was deleted
        since, the next generation of the key creates another one.
        """
        for _ in range(GENERATIONS_AT_A_TIME):
            generation = self._generation()
            # The client checks the lease again when the request has a slot.
            self._begin("stripe_creates")
            try:
                created = await self.deps.stripe.create(autumn_id, generation, self.batch.lease.check)
            except TryAgain as error:
                if not error.is_replay:
                    raise
                # Stripe repeats a stored failure, so another try with this key is useless.
                self.record = replace(self.record, create_tries=CREATE_TRIES)
                raise self._wait_for_search(SEARCH_LAG_SECONDS) from error
            now = await self.deps.stripe.retrieve(created.customer.id)
            if isinstance(now, StripeCustomer) and now.owner == autumn_id:
                self._note("created-in-stripe", now.id)
                return Created(now, created.is_repeated)
            self.record = replace(self.record, create_generation=generation + 1, create_tries=0)
        raise TryAgain("stripe", "create_failed_before", "each created customer was deleted")

    def _generation(self) -> int:
        """Return the generation of the create key. Raises TryAgain while the search may miss a created customer.

        Stripe stores a failure under its key for a day. After a repeated failure or `CREATE_TRIES` tries, wait until
        Stripe's search index is up to date. If a failed create made a customer, the fetch finds it by then.
        """
        now = self.deps.now()
        generation, tries = self.record.create_generation, self.record.create_tries
        if tries >= CREATE_TRIES:
            left_seconds = (self.batch.record.create_sent_at or 0.0) + SEARCH_LAG_SECONDS - now
            if left_seconds > 0:
                raise self._wait_for_search(left_seconds)
            generation, tries = generation + 1, 0
        self.record = replace(
            self.record,
            create_generation=generation,
            create_tries=tries + 1,
            create_sent_at=now,
            waits_for="",
            waits_until_ms=None,
        )
        return generation

    def _wait_for_search(self, seconds: float) -> TryAgain:
        """Store until when the customer waits. Return the error to raise."""
        until_ms = int((self.deps.now() + seconds) * 1000)
        self.record = replace(self.record, waits_for="create_failed_before", waits_until_ms=until_ms)
        return TryAgain("stripe", "create_failed_before", after_seconds=seconds)

    async def update_stripe(self, step: UpdateStripe, entries: Sequence[str]) -> StripeCustomer:
        """Write the fields of a step. Return the customer afterwards. Raises SyncError."""
        self._begin("stripe_updates")
        # Each try needs its own key: with the key of an earlier try, Stripe would repeat the stored answer, even a
        # 500, and change nothing.
        name = f"update-{self.batch.record.takes}-{self.totals['stripe_updates']}"
        key = idempotency_key(self.batch.customer_id, [*entries, self.batch.lease.token], name)
        after = await self.deps.stripe.update(step, key, self.batch.lease.check)
        self._note("updated-stripe", step.stripe_id, list(step.written))
        return after

    async def write_receipt(self, step: ReceiptStep, payments: Payments) -> Payments:
        """Set or remove the receipt address of one payment. Return the payments afterwards. Raises SyncError.

        The key depends only on the payment and its mark, so all tries together send at most one mail. If Stripe refuses
        the write, it becomes a finding and stops no other write.
        """
        intent_id = step.intent_id
        if isinstance(step, SetReceiptEmail) and step.mails_at_once:
            now = await self.deps.stripe.payment(intent_id)
            if _differs(now, payments):
                return _with(now, payments)
        generation = self.record.receipt_generations.get(intent_id, 0)
        verb: ActionKind = "set-receipt-email" if isinstance(step, SetReceiptEmail) else "took-back-receipt-email"
        key = idempotency_key(intent_id, (), f"receipt-{step.mark.split('-')[0]}-{step.turn}-{generation}")
        self._begin("receipt_writes")
        try:
            after = await self.deps.stripe.write_receipt(step, key, self.batch.lease.check)
        except (GiveUp, Absent) as refusal:
            self.findings.append(Finding("receipt-not-set", f"Stripe refuses to change {intent_id}: {refusal.code}"))
            return replace(payments, intents=tuple(each for each in payments.intents if each.id != intent_id))
        except TryAgain as error:
            if error.code.startswith("http_5") or error.code == "idempotency_error":
                # Stripe repeats this stored answer, so the next try needs another key. After a try without an answer
                # the key stays the same, because that write may still be applied.
                self.record = replace(
                    self.record,
                    receipt_generations={**self.record.receipt_generations, intent_id: generation + 1},
                )
            if error.code == "idempotency_error":
                # An earlier try with another address got no answer. Wait until it can no longer be applied.
                raise TryAgain("stripe", error.code, error.message, after_seconds=LAND_SECONDS) from error
            raise
        self._note(verb, intent_id)
        return _with(after, payments)

    def _begin(self, total: str) -> None:
        """Count a write that starts now. Raises LeaseLostError if the lease is lost."""
        self.batch.lease.check()
        self.any_begun = True
        self.totals[total] += 1

    def _note(self, kind: ActionKind, written: str, fields: Sequence[str] = ()) -> None:
        self.actions.append(Action(int(self.deps.now() * 1000), kind, written, tuple(fields)))


def _autumns_requests(changes: Mapping[str, JsonValue], linked: str | None) -> list[str]:
    """Return the requests that Autumn will send to Stripe for an update."""
    wanted = changes.get("stripe_id", linked)
    if not wanted:
        return []
    requests = [UPDATE] if wanted == linked else [RETRIEVE, UPDATE]
    details = changes.get("billing_details")
    if not isinstance(details, dict):
        return requests
    return [*requests, UPDATE, *([TAX_IDS] if "tax_ids" in details else [])]


def _differs(now: PaymentIntent, payments: Payments) -> bool:
    """Whether the address or the mark of a payment changed since it was fetched."""
    seen = next((each for each in payments.intents if each.id == now.id), None)
    if seen is None:
        return True
    return (seen.receipt_email, seen.metadata.get(RECEIPT_MARK)) != (now.receipt_email, now.metadata.get(RECEIPT_MARK))


def _with(now: PaymentIntent, payments: Payments) -> Payments:
    return replace(payments, intents=tuple(now if each.id == now.id else each for each in payments.intents))
