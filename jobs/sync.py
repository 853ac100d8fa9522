"""Bringing one customer in sync: its mail is merged, applied in Autumn, and Stripe is made to agree.

The only file that writes to Autumn and to Stripe. The lease is looked at before every write, and every end, good or
bad, is one settling script. Anything may run twice: the values written are absolute, and each try begins with a new
look.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import JsonValue

from jobs.autumn_models import UpdateCustomerResponse
from jobs.customer import AutumnCustomer, Mode, StripeView
from jobs.errors import Absent, GiveUp, Halt, SyncError
from jobs.letters import Letter, open_entries
from jobs.mailbox import Ending, LeaseLostError, Mail, Settled
from jobs.merge import cleared, merge
from jobs.plan import CreateInStripe, LinkInAutumn, LinkState, Plan, Step, UpdateStripe, make_plan
from jobs.resources import Resources
from jobs.retry import Bury, History, decide
from jobs.stripe_gateway import RETRIEVE, UPDATE, idempotency_key

log = structlog.get_logger(__name__)

AUTUMN_MODES: Final[dict[str, Mode]] = {"live": "live", "sandbox": "test"}
ABOUT_THE_CUSTOMER: Final = frozenset({"customer_not_found", "other_customer", "needs_review", "not_taken"})
"""Refusals of the customer as a whole: taken apart, every part of a merged update would be refused again."""


async def sync_customer(resources: Resources, customer_id: str) -> None:
    """Bring a customer in sync, if it was called and nobody else has it.

    What services and events do wrong never raises: it ends as another try or as a dead letter. Errors of Redis are
    raised; then the lease runs out and the customer is called again.
    """
    mail = await resources.mailbox.take(customer_id)
    if mail is None:
        return
    with structlog.contextvars.bound_contextvars(customer=customer_id):
        try:
            if not await resources.mailbox.settle(mail.lease, await _work_on(resources, mail)):
                log.warning("lease_lost", before="settling")
        except LeaseLostError:
            log.warning("lease_lost", before="a write")
        finally:
            resources.mailbox.forget(mail.lease)


async def _work_on(resources: Resources, mail: Mail) -> Ending:
    letters, refused = open_entries(mail.entries)
    work = _Work(resources, mail)
    try:
        settled = await work.apply(letters) if letters else []
    except LeaseLostError:
        raise
    except Exception as error:
        return _after_failure(work, letters, refused, error)
    applied = sum(not end.is_dead for end in settled)
    log.info("settled", applied=applied, dead=len(mail.entries) - applied, link=work.record.get("link"))
    record = {"attempts": "0", "failing_since": "", "last_error": "", **work.record}
    return Ending([*refused, *settled], record, work.totals)


def _after_failure(work: "_Work", letters: Sequence[Letter], refused: Sequence[Settled], error: Exception) -> Ending:
    """Another try for the letters, or their burial."""
    resources, record = work.resources, work.mail.record
    attempts, since = int(record.get("attempts") or 0), float(record.get("failing_since") or resources.now())
    history = History(attempts, resources.now() - since)
    fate = decide(error, history, resources.retry_for_seconds, resources.random)
    code = error.code if isinstance(error, SyncError) else "unexpected"
    if isinstance(fate, Bury):
        log.error("gave_up", entries=len(letters), reason=fate.reason)
        dead = [letter.dead(fate.reason, fate.message, record) for letter in letters]
        return Ending([*refused, *dead], {"attempts": "0", "failing_since": "", "last_error": code}, work.totals)
    log.warning("again_later", error=code, after_seconds=round(fate.after_seconds, 1), attempts=attempts)
    noted = {"last_error": code}
    if fate.counts:
        noted |= {"attempts": str(attempts + 1), "failing_since": f"{since:.3f}"}
    work.totals["retries"] += 1
    return Ending(refused, noted, work.totals, again_after_ms=int(fate.after_seconds * 1000))


@dataclass(frozen=True)
class _Work:
    """One customer's mail on its way through both services. `record` and `totals` gather what is to be written down."""

    resources: Resources
    mail: Mail
    record: dict[str, str] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)

    async def apply(self, letters: Sequence[Letter]) -> list[Settled]:
        """Apply letters as one update; where that is refused for good, halve them until the bad one is found."""
        try:
            await self._apply_merged(letters)
        except (GiveUp, Absent) as refusal:
            if len(letters) > 1 and refusal.code not in ABOUT_THE_CUSTOMER:
                half = len(letters) // 2
                return [*await self.apply(letters[:half]), *await self.apply(letters[half:])]
            log.error("refused", entries=len(letters), reason=refusal.code)
            return [letter.dead(refusal.code, refusal.message, self.mail.record) for letter in letters]
        self.totals["merged"] += len(letters) - 1
        return [letter.applied() for letter in letters]

    async def _apply_merged(self, letters: Sequence[Letter]) -> None:
        said = merge(letter.update.changes.said() for letter in letters if letter.update.changes is not None)
        if said:
            autumn = await self._update_autumn(said)
        else:
            self.totals["autumn_gets"] += 1
            autumn = as_autumn_customer(await self.resources.autumn.get(self.mail.lease.customer_id))
        await self._make_stripe_agree(autumn, cleared(said), [letter.entry for letter in letters])

    async def _make_stripe_agree(
        self, autumn: AutumnCustomer, cleared_fields: frozenset[str], entries: Sequence[str]
    ) -> None:
        """Look, then plan and apply until nothing is left to do."""
        view = await self._look(autumn)
        taken: list[Step] = []
        while True:
            plan = make_plan(autumn, view, self.resources.mode, cleared_fields)
            _stop_where_needed(plan, autumn)
            self.record.update(link=plan.link, stripe_id=autumn.stripe_id or "", receipts=plan.receipts or "")
            if not plan.steps:
                return
            for step in plan.steps:
                if step in taken:
                    raise GiveUp("stripe", "not_taken", "what was written does not read back as it was written")
                taken.append(step)
                autumn, view = await self._take_step(step, autumn, view, entries)

    async def _look(self, autumn: AutumnCustomer) -> StripeView:
        if autumn.stripe_id is None:
            return StripeView(ours=await self.resources.stripe.find_ours(autumn.id, autumn.email))
        return StripeView(linked=await self.resources.stripe.retrieve(autumn.stripe_id))

    async def _take_step(
        self, step: Step, autumn: AutumnCustomer, view: StripeView, entries: Sequence[str]
    ) -> tuple[AutumnCustomer, StripeView]:
        """Take one step; both sides as they are afterwards."""
        stripe, still_ours = self.resources.stripe, self.mail.lease.check
        match step:
            case CreateInStripe(autumn_id):
                self.totals["stripe_creates"] += 1
                return autumn, StripeView(ours=(await stripe.create(autumn_id, still_ours),))
            case LinkInAutumn(stripe_id):
                linked = next((customer for customer in view.ours if customer.id == stripe_id), None)
                autumn = await self._update_autumn({"stripe_id": stripe_id})
                return autumn, StripeView(linked=linked)
            case UpdateStripe():
                self.totals["stripe_updates"] += 1
                # A try that looked and found the value missing writes under a key of its own: under the one of the try
                # before it, Stripe would repeat that one's answer, a stored 500 included, and change nothing.
                key = idempotency_key(autumn.id, entries, f"update-{self.mail.record['takes']}")
                return autumn, StripeView(linked=await stripe.update(step, key, still_ours))

    async def _update_autumn(self, said: Mapping[str, JsonValue]) -> AutumnCustomer:
        async with self.resources.limits.autumn_update(stripe_endpoints=self._autumns_requests(said)):
            self.mail.lease.check()
            self.totals["autumn_updates"] += 1
            return as_autumn_customer(await self.resources.autumn.update(self.mail.lease.customer_id, said))

    def _autumns_requests(self, said: Mapping[str, JsonValue]) -> list[str]:
        """The requests to Stripe that Autumn will make for an update: none only where it is known to be unlinked."""
        if said.get("stripe_id"):
            return [RETRIEVE, UPDATE]
        return [] if self.mail.record.get("stripe_id") == "" else [UPDATE]


def _stop_where_needed(plan: Plan, autumn: AutumnCustomer) -> None:
    """Raise where nothing may be written: Halt in the wrong mode, GiveUp where a person has to decide."""
    if plan.link is LinkState.WRONG_MODE:
        what = f"Autumn answered for {autumn.mode} mode" if autumn.mode else "Autumn's environment is unknown"
        raise Halt(
            "stripe",
            "wrong_mode",
            f"{what}: AUTUMN_SECRET_KEY and STRIPE_API_KEY have to be of the same mode",
        )
    if plan.needs_review is not None:
        raise GiveUp("stripe", "needs_review", plan.needs_review)


def as_autumn_customer(answer: UpdateCustomerResponse) -> AutumnCustomer:
    """The part of Autumn's answer that a sync compares; the client has made sure that `id` is the one asked for."""
    return AutumnCustomer(
        id=answer.id or "",
        name=answer.name,
        email=answer.email,
        stripe_id=answer.stripe_id,
        mode=AUTUMN_MODES.get(answer.env),
        send_email_receipts=answer.send_email_receipts,
    )
