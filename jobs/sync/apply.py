"""One sync of a customer: apply the change in Autumn, and make Stripe agree.

It fetches both sides, plans, takes a step, and plans again until nothing is left. Each write is in `jobs.sync.writes`.
A sync may run twice, because it writes absolute values and each try begins with a new fetch.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog
from pydantic import JsonValue

from jobs.errors import Absent, GiveUp, Halt
from jobs.plan.customer import AUTUMN_ID, AutumnCustomer, Payments, StripeCustomer, StripeView, shown_by
from jobs.plan.edits import Edits
from jobs.plan.findings import Finding
from jobs.plan.merge import Changes, Fields, cleared, flat, merge, nested
from jobs.plan.plan import LinkState, Plan, Request, after_update, make_plan, needs_link
from jobs.plan.profile import PROFILE, Refused, digest_of, digests_of, divided, form_digest, refused_field
from jobs.plan.recheck import Memory
from jobs.plan.steps import CreateInStripe, SetReceiptEmail, Step, TakeBackReceiptEmail, UpdateAutumn, UpdateStripe
from jobs.plan.verified import Verified, verify
from jobs.sync.fetch import as_autumn_customer, fetch_view, fetch_wanted, linked_elsewhere
from jobs.sync.writes import Writes

log = structlog.get_logger(__name__)

OTHER_ACCOUNT: Final = "Autumn and STRIPE_API_KEY are connected to different Stripe accounts: use a key of Autumn's"


@dataclass
class CustomerSync:
    """One sync of one customer's batch. `writes` holds the writes it made and the new customer record."""

    writes: Writes
    memory: Memory
    edits: Edits
    has_agreed: bool = False
    """Whether the sync reached agreement."""
    found: str | None = None
    """The link at the first fetch; empty if the change names the link, None before the first fetch."""
    findings: tuple[Finding, ...] = ()
    profile_changed: bool = False
    """Whether a name or e-mail was overwritten. A late webhook may bring the old value back."""
    linked_first: str = ""
    """The Stripe customer that was linked before the rest of the part was sent, because the part names it."""
    awaits_edit: bool = False
    """Whether the webhook of an edit that a sync overwrote in Stripe may still come."""
    left_out: bool = False
    """Whether a value to reapply was left to a later recheck."""
    named_later: frozenset[str] = frozenset()
    """The fields that later events of the batch name. Those events decide their values in Stripe."""
    autumn_accepts: bool = True
    """Whether Autumn is assumed to accept updates. A probe has to find out before it writes to Stripe."""
    is_suspicious: bool = False
    """Whether a receipt address may have been set after receipts were turned off."""
    trusted: Verified | None = None
    """The values of an earlier fetch that this sync may trust; None if it has to fetch."""
    fetched_at: float = 0.0
    """When this sync began, or for one that fetched nothing, the sync whose fetch it trusts: see `Verified.at`."""
    _autumn: AutumnCustomer | None = field(default=None, init=False)
    _view: StripeView | None = field(default=None, init=False)
    _wanted: tuple[JsonValue, StripeView] | None = field(default=None, init=False)
    """The id that a change wants to link to, and the view of that Stripe customer."""
    _forms: dict[str, JsonValue] = field(default_factory=dict, init=False)
    """Names and e-mails as Stripe stored them."""
    _refused: list[Refused] = field(default_factory=list, init=False)

    def fetch_again(self) -> None:
        """Forget the fetched state, so that the next step reads both sides again: it may be only partly up to date."""
        self._autumn = self._view = self._wanted = None

    async def agree(self, request: Request, entries: Sequence[str] = (), parts: Sequence[Changes] = ()) -> None:
        """Fetch both sides, then plan and take steps until nothing is left to do.

        `parts` are the changes that the request was merged from: an earlier try may have sent some of them.
        Raises SyncError, and LeaseLostError before a write if the lease is lost.
        """
        deps, taken = self.writes.deps, list[Step]()
        requested, expected = request.changes, set[str]()
        self.writes.record = replace(self.writes.record, verified=None)
        while True:
            request = replace(
                request,
                refused=tuple(each for each in self._refused if each.field not in request.changes),
                forms=self._known_forms,
                autumn_accepts=self.autumn_accepts,
            )
            autumn, view = await self.fetch(request)
            undecided = self.memory.undecided(autumn, view.linked, self.writes.batch.watch_position)
            self.left_out |= bool(undecided - request.requested)
            left = self.named_later | undecided | self.edits.held(autumn, view.linked, self.memory)
            request = self._with_unaccepted(replace(request, left=left - request.requested), autumn, view)
            plan = make_plan(autumn, view, request, mode=deps.mode, policy=deps.policy, now=deps.now())
            self._note(plan, autumn, request)
            if plan.refusal is not None and request.requested and not request.changes:
                # Autumn has applied the changes, so they are not refused. The report holds the finding.
                return
            plan.raise_if_blocked(autumn)
            if plan.wants_payments and view.linked is not None:
                self._view = replace(view, payments=await self.writes.read_payments(view.linked.id))
            elif not plan.steps or self._is_stuck(plan, taken, request):
                break
            if plan.steps and plan.link is LinkState.UNCLAIMED:
                await self.writes.claim(view.wanted or view.linked)
            target = view.wanted or view.linked or next(iter(view.ours), None)
            target_id = target.id if target is not None else ""
            if plan.steps and target_id not in expected:
                # A later plan may write to another customer, such as one that this sync created.
                unsent = {name: value for name, value in requested.items() if name in request.changes}
                await self._expect(replace(request, changes=unsent), parts, autumn, target)
                expected.add(target_id)
            for step in plan.steps:
                taken.append(step)
                request = await self._take_step(step, autumn, view, request, entries)
        self._note_agreement(plan, autumn, view)

    def _note_agreement(self, plan: Plan, autumn: AutumnCustomer, view: StripeView) -> None:
        awaited = self.edits.awaited(autumn, view.linked, self.memory)
        self.memory.keep_for_longer(awaited)
        self.awaits_edit = bool(awaited)
        self.memory.note_agreement(besides=self.named_later)
        kept = {each.field: (each.code, each.digest) for each in self._refused}
        self.writes.record = replace(self.writes.record, refused=kept, verified=self._verified(plan, autumn, view))
        self.has_agreed = True

    def _verified(self, plan: Plan, autumn: AutumnCustomer, view: StripeView) -> Verified | None:
        """Return the values of both sides, if nothing is left to do or to tell. Findings need a fetch each time."""
        if plan.steps or plan.findings or self.writes.findings or self.memory.is_in_doubt:
            return None
        changes = self.writes.batch.record.changes_in_stripe
        return verify(autumn, view.linked, self.writes.deps.policy, at=self.fetched_at, changes=changes)

    def lost(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, *, besides: Set[str]) -> dict[str, JsonValue]:
        """Return the values to reapply in Autumn: those that something reverted, and edits in Stripe without a webhook.

        Fields of `besides` are left out.
        """
        overdue = self.edits.overdue(autumn, stripe, self.memory)
        found = self.memory.lost(autumn, stripe, besides=besides)
        return found | {each: value for each, value in overdue.items() if each not in besides}

    def _is_stuck(self, plan: Plan, taken: Sequence[Step], request: Request) -> bool:
        """Whether the plan repeats a step, because the service does not return the values that were written.

        This becomes a finding. Raises GiveUp if changes are not sent yet, because they would never be.
        """
        again = [step for step in plan.steps if step in taken]
        if again and request.changes:
            raise GiveUp("stripe", "not_taken", "the service does not return the values that were written")
        fields = [name for step in again if isinstance(step, UpdateStripe) for name in step.written]
        if again:
            text = f"Stripe stores a different value of {', '.join(fields) or 'a payment'} than was written"
            self.writes.findings.append(Finding("refused-by-stripe", text))
        return bool(again)

    def _with_unaccepted(self, request: Request, autumn: AutumnCustomer, view: StripeView) -> Request:
        """Return the request, with the fields that Autumn has no value for and that have an unaccepted one in Stripe.

        Those that the request does not name are cleared in Stripe.
        """
        shown = next((each for each in (view.linked, *view.ours) if each is not None), None)
        if shown is None or not self.memory.unaccepted_fields:
            return request
        never_accepted = self.memory.never_accepted(autumn, shown)
        cleared = request.cleared | (never_accepted - request.changes.keys())
        return replace(request, cleared=cleared, unaccepted=never_accepted)

    async def _expect(
        self, request: Request, parts: Sequence[Changes], autumn: AutumnCustomer, target: StripeCustomer | None
    ) -> None:
        """Remember the values to write and those they replace, before a name or e-mail is written anywhere.

        `target` is the Stripe customer to write to; None before it is created.
        """
        fields = self.tracked(flat(request.changes))
        if not fields:
            return
        shown = {name: getattr(target, name) for name in PROFILE} if target is not None else {}
        ours = {name: value for name, value in shown_by(autumn).items() if name in fields}
        digests = digests_of(self.memory.customer_id, ours), digests_of(self.memory.customer_id, shown)
        self.memory.expect(fields, *digests, [flat(each) for each in parts], is_new=bool(request.requested))
        self.profile_changed |= self.memory.overwrite(shown_by(autumn), shown)
        if target is not None and not fields.keys().isdisjoint(PROFILE):
            if target.id == autumn.stripe_id:
                self.memory.note_link(target.id)
            await self.writes.remember(self.memory)

    def tracked(self, fields: Fields) -> dict[str, JsonValue]:
        """Return the fields to remember: those that affect Stripe, or all while an update is of unknown fate."""
        copied = {f"metadata.{key}" for key in self.writes.deps.policy.metadata_keys}
        always = {*PROFILE, "stripe_id", "send_email_receipts", *copied}
        return {name: value for name, value in fields.items() if name in always or self.memory.is_in_doubt}

    async def fetch(self, request: Request) -> tuple[AutumnCustomer, StripeView]:
        """Return both sides, and fetch those that are not known. Raises SyncError."""
        if self._autumn is None:
            self._autumn = as_autumn_customer(await self.writes.read_autumn(may_create=bool(request.changes)))
        if "stripe_id" in request.changes:
            wanted = request.changes["stripe_id"]
            if self._wanted is None or self._wanted[0] != wanted:
                self._wanted = (wanted, await fetch_wanted(self.writes.deps, self._autumn, wanted))
            return self._autumn, self._wanted[1]
        is_alone = self.writes.deps.policy.leaves_alone(self._autumn) and not needs_link(request.changes)
        is_cleared = "stripe_id" in request.cleared and self._autumn.stripe_id is None
        if is_cleared or (is_alone and not self.writes.batch.is_probe):
            # It stays unlinked, so search for none. `_view` stays unset for a later change of this sync.
            return self._autumn, StripeView()
        if self._view is None:
            self._view = await fetch_view(self.writes.deps, self._autumn)
        return self._autumn, self._view

    def _note(self, plan: Plan, autumn: AutumnCustomer, request: Request) -> None:
        names_link = "stripe_id" in request.changes
        if self.found is None:
            self.found = "" if names_link else plan.link
        if names_link:
            # The plan is about the requested link, which may be refused.
            return
        self.findings = plan.findings
        no_receipts = next((each.text for each in plan.findings if each.kind == "receipts-cannot-be-sent"), "")
        self.writes.note_link(plan.link, autumn.stripe_id or "", no_receipts)

    async def _take_step(
        self, step: Step, autumn: AutumnCustomer, view: StripeView, request: Request, entries: Sequence[str]
    ) -> Request:
        """Take one step and store both sides as they are afterwards. Return the rest of the request."""
        match step:
            case UpdateAutumn():
                return await self._send(step, autumn, view, request)
            case CreateInStripe(autumn_id):
                created, is_repeated = await self.writes.create_in_stripe(autumn_id)
                # If it was created earlier, a rename in Autumn may have given it to another customer.
                elsewhere = await linked_elsewhere(self.writes.deps, autumn, (created,)) if is_repeated else {}
                self._view = replace(view, ours=(created,), linked_elsewhere=elsewhere)
            case UpdateStripe():
                await self._note_before(step, autumn, view, request)
                return await self._update_stripe(step, view, request, entries)
            case SetReceiptEmail() | TakeBackReceiptEmail():
                # An earlier step of this plan may have updated the view.
                kept = self._view or view
                payments = await self.writes.write_receipt(step, kept.payments or Payments(()))
                self._view = replace(kept, payments=payments)
        return request

    async def _note_before(
        self, step: UpdateStripe, autumn: AutumnCustomer, view: StripeView, request: Request
    ) -> None:
        """Remember the values that a step overwrites. Those of a customer that is not linked yet are older."""
        shown = next(each for each in view.all_customers if each.id == step.stripe_id)
        if shown.id != autumn.stripe_id:
            await self._expect_echo(autumn, shown, {*request.changes, *request.left})
            return
        written_over = {name: getattr(shown, name) for name in PROFILE if getattr(step, name) is not None}
        self.profile_changed |= self.memory.overwrite(shown_by(autumn), written_over)

    async def _expect_echo(self, autumn: AutumnCustomer, stripe: StripeCustomer, changes: Set[str]) -> None:
        """Remember that an echo may bring the values that Stripe shows now, for fields that are not in `changes`."""
        if self.memory.expect_echo(autumn, stripe, besides=changes):
            # Store it now: the echo may arrive before the next step if this worker dies.
            await self.writes.remember(self.memory)

    async def _update_stripe(
        self, step: UpdateStripe, view: StripeView, request: Request, entries: Sequence[str]
    ) -> Request:
        """Write to Stripe without the fields that it refuses.

        Raises GiveUp if the rest of the request names such a field.
        """
        known = self._known_refusals(step, request) if request.requested else []
        if known:
            self._refused += known
            return request
        try:
            after = await self.writes.update_stripe(step, entries)
        except GiveUp as refusal:
            refused = refused_field(refusal, step)
            if refused is None:
                return await self._update_one_by_one(step, view, request, entries, refusal)
            if refused in request.changes:
                text = f"changes.{refused}: Stripe refuses it ({refusal.code}); send a value that Stripe accepts"
                raise GiveUp("stripe", "stripe_refused", text) from refusal
            digest = digest_of(self.memory.customer_id, refused, step.written[refused])
            self._refused.append(Refused(refused, refusal.code, digest))
            return request
        before = next(each for each in view.all_customers if each.id == step.stripe_id)
        shown = view.with_customer(self.as_sent(step, before, after))
        if view.wanted is not None:
            self._wanted = (view.wanted.id, shown)
        else:
            self._view = shown
        return request

    async def _update_one_by_one(
        self, step: UpdateStripe, view: StripeView, request: Request, entries: Sequence[str], refusal: GiveUp
    ) -> Request:
        """Write the fields of a step one by one, because Stripe did not say which one it refuses."""
        parts = divided(step)
        if len(parts) == 1:
            raise refusal
        for part in parts:
            request = await self._update_stripe(part, view, request, entries)
            now = self._wanted[1] if view.wanted is not None and self._wanted is not None else self._view
            view = now or view
        return request

    def as_sent(self, step: UpdateStripe, before: StripeCustomer, after: StripeCustomer) -> StripeCustomer:
        """Return the customer after a step with the values as sent: Stripe may store them in another form."""
        sent: dict[str, Any] = {}
        for name in PROFILE:
            written, shown, stored = (getattr(each, name) for each in (step, before, after))
            if written is not None:
                self.profile_changed |= bool(shown) and not self.writes.batch.is_recheck
                self._forms[name] = stored
                self._note_form(name, written, stored)
                if written:
                    sent[name] = written
            elif name in self._forms and stored == self._forms[name]:
                sent[name] = shown
        kept = {key: value for key, value in step.metadata if value and key in after.metadata and key != AUTUMN_ID}
        return replace(after, **sent, metadata={**after.metadata, **kept})

    def _note_form(self, name: str, written: str, stored: str | None) -> None:
        """Store the digests of both forms of a value, if Stripe stores it in another form."""
        forms = dict(self._known_forms)
        forms.pop(name, None)
        if written and stored != written:
            forms[name] = (form_digest(written), form_digest(stored))
        self.writes.record = replace(self.writes.record, forms=forms)

    @property
    def _known_forms(self) -> dict[str, tuple[str, str]]:
        return dict(self.writes.record.forms)

    def _known_refusals(self, step: UpdateStripe, request: Request) -> list[Refused]:
        """Return the fields of a step that Stripe refused in an earlier sync, with the same values.

        A request without changes of an event, such as a reconcile, tries these fields again.
        """
        values = step.written
        return [
            Refused(name, code, digest)
            for name, (code, digest) in self.writes.batch.record.refused.items()
            if name not in request.changes and digest == digest_of(self.memory.customer_id, name, values.get(name))
        ]

    async def _send(self, step: UpdateAutumn, autumn: AutumnCustomer, view: StripeView, request: Request) -> Request:
        """Send an update to Autumn and compare the result. Return the rest of the request."""
        expected = step.changes.get("stripe_id", autumn.stripe_id) or None
        linked = next((each for each in view.all_customers if each.id == expected), None)
        if linked is not None:
            # Autumn always writes to this customer, so Stripe may send an echo with the values it shows now.
            if linked.id != autumn.stripe_id:
                self.memory.wanted_id = linked.id
            await self._expect_echo(autumn, linked, {*step.changes, *request.left})
        try:
            after = as_autumn_customer(await self.writes.update_autumn(step.changes, autumn.stripe_id))
        except Absent:
            return await self._handle_missing(step, expected, request)
        if step.expects_gone and after.stripe_id == autumn.stripe_id:
            # Autumn still finds the Stripe customer that our key does not find.
            raise Halt("stripe", "other_account", OTHER_ACCOUNT)
        # Fetch Stripe again if something else changed the link in the meantime, or if nothing was searched.
        is_known = after.stripe_id == expected and not self.writes.deps.policy.leaves_alone(autumn)
        self.accept(step.changes, after, after_update(autumn, view, step.changes) if is_known else None)
        if step.changes.keys() == {"stripe_id"} and request.changes.keys() > step.changes.keys():
            self.linked_first = str(step.changes["stripe_id"])
        changed = any(name in step.changes and step.changes[name] != getattr(autumn, name) for name in PROFILE)
        self.profile_changed |= changed and after.stripe_id is not None
        linked = self._view.linked if self._view is not None else None
        return request if step.expects_gone else self.rest(request, step.changes, after, linked)

    def accept(self, changes: Changes, autumn: AutumnCustomer, view: StripeView | None) -> None:
        """Store both sides as they are after Autumn accepted changes; `view` is None if Stripe has to be fetched."""
        self._autumn, self._view, self._wanted, self.autumn_accepts = autumn, view, None, True
        self.memory.accept(self.tracked(flat(changes)), self._forms)
        self.memory.note_link(autumn.stripe_id)
        self._refused = [each for each in self._refused if each.field not in flat(changes)]

    def rest(self, request: Request, sent: Changes, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> Request:
        """Return the rest of a request after an update, with the values that an echo reverted before it."""
        left = {name: value for name, value in request.changes.items() if name not in sent}
        later = self.named_later - request.requested
        lost = nested(self.lost(autumn, stripe, besides=flat(request.changes).keys() | later))
        if lost:
            log.warning("fields_reapplied", fields=sorted(flat(lost)))
            self.writes.totals["reapplied"] += 1
        return replace(request, changes=merge([lost, left]), cleared=request.cleared | cleared(lost))

    async def _handle_missing(self, step: UpdateAutumn, stripe_id: JsonValue, request: Request) -> Request:
        """Return the request after Autumn did not find the Stripe customer of its link or of the requested one."""
        if not step.expects_gone:
            now = await self.writes.deps.stripe.retrieve(str(stripe_id))
            if isinstance(now, StripeCustomer):
                raise Halt("stripe", "other_account", OTHER_ACCOUNT)
            # It was deleted after our fetch: fetch again.
            self._view = self._wanted = None
        self.autumn_accepts = True
        return replace(request, gone_confirmed=step.expects_gone or request.gone_confirmed)
