"""One round of a customer through both services: the change is applied in Autumn, and Stripe is made to agree.

It looks, plans, takes a step, and plans again until nothing is left; what it takes for a write, jobs.writes says.
Anything may run twice: the values written are absolute, and each try begins with a new look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from pydantic import JsonValue

from jobs.customer import AutumnCustomer, Payments, StripeCustomer, StripeView
from jobs.errors import Absent, GiveUp, Halt
from jobs.findings import Finding
from jobs.look import as_autumn_customer, look_at_stripe, look_at_wanted
from jobs.merge import cleared, undone, without
from jobs.plan import Asked, CreateInStripe, LinkState, Plan, Step, UpdateAutumn, after_update, make_plan
from jobs.profile import UpdateStripe
from jobs.receipts import SetReceiptEmail, TakeBackReceiptEmail
from jobs.writes import Writes

log = structlog.get_logger(__name__)

PUT_BACKS_AT_MOST: Final = 3
"""How often in a row a second look puts something back: whoever undoes it each time would make a loop of it."""
OTHER_ACCOUNT: Final = "Autumn and STRIPE_API_KEY are connected to different Stripe accounts: use a key of Autumn's"


@dataclass
class Round:
    """One customer's mail on its way through both services; what it wrote and noted is in `writes`."""

    writes: Writes
    has_agreed: bool = False
    """Whether both services answered to the end, so that they are known to work."""
    found: str | None = None
    """The link as it was first seen; empty where a change named the new one at once, None before any look."""
    findings: tuple[Finding, ...] = ()
    profile_changed: bool = False
    """Whether a name or e-mail of a linked customer was changed, which may come back as an echo of an older one."""
    left_out: bool = False
    """Whether the second look left something to do for another one."""
    _autumn: AutumnCustomer | None = field(default=None, init=False)
    _view: StripeView | None = field(default=None, init=False)

    async def apply(self, said: Mapping[str, JsonValue], entries: Sequence[str]) -> None:
        """Apply one merged update of these entries, or with nothing said just look, and make Stripe agree.

        Raises SyncError, and LeaseLostError before a write that is no longer ours.
        """
        await self._agree(Asked(said, cleared(said), suspicious=self._is_suspicious), entries)

    async def look_again(self, later: Mapping[str, JsonValue]) -> None:
        """The second look: what was said lately and is not so any more is said again. Raises as `apply` does.

        Something landed late: a write that nobody waited for, or Stripe's echo of an older one. What waiting changes
        say anew (`later`) is left to them. Where only an echo was to be feared, which never changes Stripe, and nothing
        was undone, Stripe is not looked at.
        """
        mail, writes = self.writes.mail, self.writes
        writes.totals["looks"] += 1
        answer = await writes.resources.autumn.get(mail.lease.customer_id)
        self._autumn = as_autumn_customer(answer)
        # No echo changes a link, and whether the one that is there is right, the plan finds out from Stripe.
        said = {name: value for name, value in mail.said.items() if name != "stripe_id" or mail.look_is_whole}
        lost = undone(answer.model_dump(), without(said, later))
        if lost and "stripe_id" in later:
            # First the link that was asked for: what is put back goes to Stripe with it.
            self.left_out = True
            return
        if lost:
            await self._put_back(lost)
            return
        writes.record["put_backs"] = "0"
        if not later and mail.look_is_whole:
            await self._agree(Asked({}, cleared(mail.said), suspicious=self._is_suspicious), [])

    async def _put_back(self, lost: Mapping[str, JsonValue]) -> None:
        """Say again what is `lost` and make Stripe agree, unless that was in vain too often. Raises as `apply` does."""
        mail, writes = self.writes.mail, self.writes
        before, fields = mail.number("put_backs"), sorted(lost)
        if before >= PUT_BACKS_AT_MOST:
            text = (
                f"something undoes {', '.join(fields)} each time, and it was put back {before} times: left as it is now"
            )
            log.error("put_back_again_and_again", fields=fields)
            writes.findings.append(Finding("put-back-again-and-again", text))
            return
        log.warning("put_back", fields=fields)
        try:
            rest = await self._put_link_back(lost) if "stripe_id" in lost else lost
            await self._agree(Asked(rest, cleared(mail.said), suspicious=self._is_suspicious), [])
        finally:
            # A try that failed before Autumn took it was not in vain.
            done = int(any(action.kind == "updated-autumn" for action in writes.actions))
            writes.record["put_backs"] = str(before + done)
            writes.totals["put_back"] += done

    async def _put_link_back(self, lost: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Ask for the link that is `lost`; the rest of it, which a link that is refused by now does not hold up."""
        wanted = {"stripe_id": lost["stripe_id"]}
        try:
            await self._agree(Asked(wanted, cleared(wanted)), [])
        except (GiveUp, Absent) as refusal:
            log.warning("link_not_put_back", reason=refusal.code)
        return {name: value for name, value in lost.items() if name != "stripe_id"}

    @property
    def _is_suspicious(self) -> bool:
        """Whether a receipt's address may have been set after the flag went off."""
        mail = self.writes.mail
        return (mail.wants_a_look or mail.was_abandoned) and bool(mail.record.get("payments_read"))

    async def _agree(self, asked: Asked, entries: Sequence[str]) -> None:
        """Look, then plan and take steps until nothing is left to do."""
        resources, taken = self.writes.resources, list[Step]()
        while True:
            autumn, view = await self._look(asked)
            plan = make_plan(autumn, view, asked, mode=resources.mode, policy=resources.policy, now=resources.now())
            self._note(plan, autumn, asked)
            _stop_where_needed(plan, autumn)
            if plan.wants_payments and view.linked is not None:
                self._view = replace(view, payments=await self.writes.read_payments(view.linked.id))
            elif not plan.steps:
                break
            if plan.steps and plan.link is LinkState.UNCLAIMED:
                await self.writes.claim(view.wanted or view.linked)
            for step in plan.steps:
                if step in taken:
                    raise GiveUp("stripe", "not_taken", "what was written does not read back as it was written")
                taken.append(step)
                asked = await self._take_step(step, autumn, view, asked, entries)
        self.has_agreed = True

    async def _look(self, asked: Asked) -> tuple[AutumnCustomer, StripeView]:
        """Both sides as they are known, looked at where they are not."""
        if self._autumn is None:
            self._autumn = as_autumn_customer(await self.writes.read_autumn(may_create=bool(asked.said)))
        stripe = self.writes.resources.stripe
        if "stripe_id" in asked.said:
            return self._autumn, await look_at_wanted(stripe, asked.said["stripe_id"])
        if "stripe_id" in asked.cleared and self._autumn.stripe_id is None:
            # Unlinked on purpose: nothing is to be found, so nobody looks. The next change of this round has to.
            return self._autumn, StripeView()
        if self._view is None:
            self._view = await look_at_stripe(stripe, self._autumn)
        return self._autumn, self._view

    def _note(self, plan: Plan, autumn: AutumnCustomer, asked: Asked) -> None:
        names_link = "stripe_id" in asked.said
        if self.found is None:
            self.found = "" if names_link else plan.link
        if names_link:
            # The plan is about the link that is asked for, which may be refused.
            return
        self.findings = plan.findings
        no_receipts = next((each.text for each in plan.findings if each.kind == "receipts-cannot-be-sent"), "")
        self.writes.record.update(link=plan.link, stripe_id=autumn.stripe_id or "", receipts=no_receipts)

    async def _take_step(
        self, step: Step, autumn: AutumnCustomer, view: StripeView, asked: Asked, entries: Sequence[str]
    ) -> Asked:
        """Take one step, remember both sides as they are afterwards; what is still asked for."""
        match step:
            case UpdateAutumn():
                return await self._send(step, autumn, view, asked)
            case CreateInStripe(autumn_id):
                self._view = replace(view, ours=(await self.writes.create_in_stripe(autumn_id),))
            case UpdateStripe():
                self._view = replace(view, linked=await self.writes.update_stripe(step, entries))
            case SetReceiptEmail() | TakeBackReceiptEmail():
                # One of several steps: what the ones before it left is in the view that is kept.
                kept = self._view or view
                payments = await self.writes.write_receipt(step, kept.payments or Payments(()))
                self._view = replace(kept, payments=payments)
        return asked

    async def _send(self, step: UpdateAutumn, autumn: AutumnCustomer, view: StripeView, asked: Asked) -> Asked:
        expected = step.said.get("stripe_id", autumn.stripe_id) or None
        try:
            after = as_autumn_customer(await self.writes.update_autumn(step.said, autumn))
        except Absent:
            return await self._gone_for_autumn(step, expected, asked)
        if step.expects_gone and after.stripe_id == autumn.stripe_id:
            # Autumn sees the customer that we do not see.
            raise Halt("stripe", "other_account", OTHER_ACCOUNT)
        self._autumn = after
        # Where somebody else changed the link meanwhile, nothing is known of it.
        self._view = after_update(autumn, view, step.said) if after.stripe_id == expected else None
        changed = any(step.said.get(name) and step.said[name] != getattr(autumn, name) for name in ("name", "email"))
        self.profile_changed |= changed and after.stripe_id is not None
        return asked if step.expects_gone else replace(asked, said={})

    async def _gone_for_autumn(self, step: UpdateAutumn, stripe_id: JsonValue, asked: Asked) -> Asked:
        """Autumn does not find the Stripe customer that it is, or would be, linked to."""
        if step.expects_gone:
            return replace(asked, gone_confirmed=True)
        now = await self.writes.resources.stripe.retrieve(str(stripe_id))
        if isinstance(now, StripeCustomer):
            raise Halt("stripe", "other_account", OTHER_ACCOUNT)
        # Deleted since we looked: look again, and heal.
        self._view = None
        return asked


def _stop_where_needed(plan: Plan, autumn: AutumnCustomer) -> None:
    """Raise where nothing may be written: Halt in the wrong mode, GiveUp where a person has to decide."""
    if plan.link is LinkState.WRONG_MODE:
        what = f"Autumn answered for {autumn.mode} mode" if autumn.mode else "Autumn's environment is unknown"
        raise Halt("stripe", "wrong_mode", f"{what}: AUTUMN_SECRET_KEY and STRIPE_API_KEY have to be of the same mode")
    if plan.refusal is not None:
        raise GiveUp("stripe", plan.refusal.code, plan.refusal.text)
