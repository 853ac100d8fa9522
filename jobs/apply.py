"""One round of a customer through both services: the change is applied in Autumn, and Stripe is made to agree.

The only file that writes to Autumn and to Stripe. The lease is looked at before every write. Anything may run twice:
the values written are absolute, and each try begins with a new look.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import JsonValue

from jobs.autumn_models import UpdateCustomerResponse
from jobs.customer import AutumnCustomer, Mode, StripeCustomer, StripeView
from jobs.errors import Absent, GiveUp, Halt, TryAgain
from jobs.mail import Mail
from jobs.merge import cleared, undone, without
from jobs.plan import AUTUMN_ID, CreateInStripe, LinkInAutumn, LinkState, Plan, Step, UpdateStripe, make_plan
from jobs.resources import Resources
from jobs.stripe_gateway import RETRIEVE, UPDATE, idempotency_key

log = structlog.get_logger(__name__)

AUTUMN_MODES: Final[dict[str, Mode]] = {"live": "live", "sandbox": "test"}
CREATE_TRIES: Final = 5
SEARCH_LAG_SECONDS: Final = 3600.0
"""The longest that Stripe's search is said to trail behind."""
OTHER_ACCOUNT: Final = "Autumn and STRIPE_API_KEY are connected to different Stripe accounts: use a key of Autumn's"


@dataclass
class Round:
    """One customer's mail on its way through both services. `record` and `totals` gather what is to be written down."""

    resources: Resources
    mail: Mail
    record: dict[str, str] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    has_agreed: bool = False
    """Whether both services answered to the end, so that they are known to work."""

    @property
    def has_written(self) -> bool:
        """Whether a write to either service was begun."""
        return any(self.totals[name] for name in ("autumn_updates", "stripe_creates", "stripe_updates"))

    @property
    def failing_seconds(self) -> float:
        """How long the customer's changes have failed in a row before this round."""
        since = self.mail.record.get("failing_since")
        return self.resources.now() - float(since) if since else 0.0

    async def apply(self, said: Mapping[str, JsonValue], entries: Sequence[str]) -> None:
        """Apply one merged update of these entries, or with nothing said just look, and make Stripe agree.

        Raises SyncError, and LeaseLostError before a write that is no longer ours.
        """
        if said:
            autumn = await self._update_autumn(said)
        else:
            self.totals["autumn_gets"] += 1
            autumn = as_autumn_customer(await self.resources.autumn.get(self.mail.lease.customer_id))
        await self._make_stripe_agree(autumn, cleared(said), entries, just_updated=bool(said))

    async def look_again(self, later: Mapping[str, JsonValue]) -> None:
        """The second look: what was said lately and is not so any more, because a write landed late, is said again.

        Except what waiting changes say anew (`later`): Autumn may already have that from a try whose answer was lost.
        """
        self.totals["looks"] += 1
        answer = await self.resources.autumn.get(self.mail.lease.customer_id)
        # The link is left alone: whether it is right, the plan finds out from Stripe.
        said = {name: value for name, value in self.mail.said.items() if name != "stripe_id"}
        lost = undone(answer.model_dump(), without(said, later))
        autumn = as_autumn_customer(answer)
        if lost:
            log.warning("put_back", fields=sorted(lost))
            self.totals["put_back"] += 1
            autumn = await self._update_autumn(lost)
        if not later:
            await self._make_stripe_agree(autumn, cleared(self.mail.said), [], just_updated=bool(lost))

    async def _make_stripe_agree(
        self, autumn: AutumnCustomer, cleared_fields: frozenset[str], entries: Sequence[str], *, just_updated: bool
    ) -> None:
        """Look, then plan and take steps until nothing is left to do."""
        view = await self._look(autumn)
        if just_updated and autumn.stripe_id is not None and view.linked is None:
            # Autumn has just written this customer to its Stripe account.
            raise Halt("stripe", "other_account", OTHER_ACCOUNT)
        taken: list[Step] = []
        while True:
            plan = make_plan(autumn, view, self.resources.mode, cleared_fields)
            _stop_where_needed(plan, autumn)
            self.record.update(link=plan.link, stripe_id=autumn.stripe_id or "", receipts=plan.receipts or "")
            if not plan.steps:
                self.has_agreed = True
                return
            for step in plan.steps:
                if step in taken:
                    raise GiveUp("stripe", "not_taken", "what was written does not read back as it was written")
                taken.append(step)
                autumn, view = await self._take_step(step, autumn, entries)

    async def _look(self, autumn: AutumnCustomer) -> StripeView:
        if autumn.stripe_id is None:
            return StripeView(ours=await self.resources.stripe.find_ours(autumn.id, autumn.email))
        return StripeView(linked=await self.resources.stripe.retrieve(autumn.stripe_id))

    async def _take_step(
        self, step: Step, autumn: AutumnCustomer, entries: Sequence[str]
    ) -> tuple[AutumnCustomer, StripeView]:
        """Take one step; both sides as they are afterwards."""
        stripe, still_ours = self.resources.stripe, self.mail.lease.check
        match step:
            case CreateInStripe(autumn_id):
                generation = self._generation()
                self.totals["stripe_creates"] += 1
                return autumn, StripeView(ours=(await stripe.create(autumn_id, generation, still_ours),))
            case LinkInAutumn(stripe_id):
                return await self._link(autumn, stripe_id)
            case UpdateStripe():
                self.totals["stripe_updates"] += 1
                # A try that looked and found the value missing writes under a key of its own: under the one of the try
                # before it, Stripe would repeat that one's answer, a stored 500 included, and change nothing.
                key = idempotency_key(autumn.id, entries, f"update-{self.mail.record['takes']}")
                return autumn, StripeView(linked=await stripe.update(step, key, still_ours))

    def _generation(self) -> int:
        """Which key to create under. Raises TryAgain while a create that failed may still be unknown to a search.

        Stripe keeps a failure under its key for a day. After some tries nothing is created for as long as a search may
        trail behind; had one of them made a customer, the look before this would have found it by then.
        """
        number, now = self.mail.number, self.resources.now()
        generation, tries = number("create_generation"), number("create_tries")
        if tries >= CREATE_TRIES:
            left_seconds = float(self.mail.record.get("created_at") or 0) + SEARCH_LAG_SECONDS - now
            if left_seconds > 0:
                raise TryAgain("stripe", "create_failed_before", after_seconds=left_seconds)
            generation, tries = generation + 1, 0
        self.record.update(create_generation=str(generation), create_tries=str(tries + 1), created_at=f"{now:.3f}")
        return generation

    async def _link(self, autumn: AutumnCustomer, stripe_id: str) -> tuple[AutumnCustomer, StripeView]:
        """Link the two. A search lags and a repeated create answers as at first, so Stripe is asked once more."""
        linked: StripeCustomer | None = await self.resources.stripe.retrieve(stripe_id)
        if linked is None or linked.metadata.get(AUTUMN_ID) != autumn.id:
            raise TryAgain("stripe", "stale_look_up", f"{stripe_id} is no longer ours")
        try:
            autumn = await self._update_autumn({"stripe_id": stripe_id})
        except Absent as error:
            raise Halt("stripe", "other_account", OTHER_ACCOUNT) from error
        return autumn, StripeView(linked=linked)

    async def _update_autumn(self, said: Mapping[str, JsonValue]) -> AutumnCustomer:
        async with self.resources.limits.autumn_update(stripe_endpoints=self._autumns_requests(said)):
            self.mail.lease.check()
            self.totals["autumn_updates"] += 1
            return as_autumn_customer(await self.resources.autumn.update(self.mail.lease.customer_id, said))

    def _autumns_requests(self, said: Mapping[str, JsonValue]) -> list[str]:
        """The requests to Stripe that Autumn will make for an update: none where the last look found no link."""
        if said.get("stripe_id"):
            return [RETRIEVE, UPDATE]
        last_seen = self.record.get("stripe_id", self.mail.record.get("stripe_id"))
        return [] if last_seen == "" else [UPDATE]


def _stop_where_needed(plan: Plan, autumn: AutumnCustomer) -> None:
    """Raise where nothing may be written: Halt in the wrong mode, GiveUp where a person has to decide."""
    if plan.link is LinkState.WRONG_MODE:
        what = f"Autumn answered for {autumn.mode} mode" if autumn.mode else "Autumn's environment is unknown"
        raise Halt("stripe", "wrong_mode", f"{what}: AUTUMN_SECRET_KEY and STRIPE_API_KEY have to be of the same mode")
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
