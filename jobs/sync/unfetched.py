"""Apply changes, without a fetch if the values of an earlier one can be trusted (`jobs.plan.verified`).

An update without a name or e-mail is then one call, and one with them is two: Stripe first. If an answer does not fit,
the same sync fetches.
"""

from collections.abc import Sequence
from dataclasses import replace

from jobs.errors import Absent, GiveUp
from jobs.plan.customer import AutumnCustomer, Payments, StripeCustomer, StripeView
from jobs.plan.findings import Finding
from jobs.plan.merge import Changes, cleared, flat
from jobs.plan.plan import Request
from jobs.plan.profile import digests_of
from jobs.plan.verified import Verified, can_be_written
from jobs.sync.apply import CustomerSync
from jobs.sync.fetch import as_autumn_customer


def can_skip_fetch(sync: CustomerSync, changes: Changes) -> bool:
    """Whether the changes can be sent without a fetch."""
    return sync.trusted is not None and bool(changes) and can_be_written(changes)


async def apply_changes(
    sync: CustomerSync, changes: Changes, entries: Sequence[str], parts: Sequence[Changes] = ()
) -> None:
    """Apply one merged update of these entries and make Stripe agree. `changes` may be empty.

    `parts` are the changes it was merged from: an earlier try may have sent some of them.
    Raises SyncError, and LeaseLostError before a write if the lease is lost.
    """
    request = Request(changes, cleared(changes), suspicious=sync.is_suspicious, requested=frozenset(flat(changes)))
    verified, sync.trusted = sync.trusted if can_skip_fetch(sync, changes) else None, None
    autumn = None if verified is None else await _send(sync, verified, request, entries, parts)
    if autumn is None:
        await sync.agree(request, entries, parts)
        return
    try:
        _, view = await sync.fetch(Request())
        await sync.agree(sync.rest(request, changes, autumn, view.linked), entries, parts)
    except (GiveUp, Absent) as refusal:
        # Autumn has applied the changes, so they are not refused.
        text = f"the changes are applied, but the rest of the sync was refused ({refusal.code})"
        sync.writes.findings.append(Finding("refused-by-stripe", text))


async def _send(
    sync: CustomerSync, verified: Verified, request: Request, entries: Sequence[str], parts: Sequence[Changes]
) -> AutumnCustomer | None:
    """Send the changes without a fetch, and store what the answers show. Return None if Autumn has not applied them."""
    writes, memory, changes = sync.writes, sync.memory, request.changes
    writes.record = replace(writes.record, verified=None)
    mode, customer_id = writes.deps.mode, writes.batch.customer_id
    agreed = {**verified.digests, **digests_of(customer_id, {"send_email_receipts": verified.receipts_on})}
    memory.expect(sync.tracked(flat(changes)), agreed, agreed, [flat(each) for each in parts], is_blind=True)
    write, written = verified.first_write(changes), None
    try:
        if write is not None:
            memory.note_link(verified.stripe_id)
            await writes.remember(memory)
            unknown = StripeCustomer(verified.stripe_id, name=None, email=None, mode=mode)
            written = sync.as_sent(write, unknown, await writes.update_stripe(write, entries))
            # The webhook of a value that this replaced may bring it back.
            sync.profile_changed = True
            if not verified.is_still_in_stripe(written, customer_id, changes, mode):
                return None
        memory.expect_echo_of(verified.digests, besides={*changes})
        autumn = as_autumn_customer(await writes.update_autumn(changes, verified.stripe_id))
    except (GiveUp, Absent):
        # The fetch shows why, and the plan knows what to do.
        return None
    writes.totals["unfetched"] += 1
    sync.fetched_at = verified.at
    if written is not None and autumn.stripe_id == written.id:
        # The answer of the write shows Stripe's side.
        keeps_payments = autumn.send_email_receipts == verified.receipts_on and "email" not in changes
        view = StripeView(linked=written, payments=Payments(()) if keeps_payments else None)
        sync.accept(changes, autumn, view)
    elif write is None and verified.fits(autumn, mode):
        sync.accept(changes, autumn, verified.view(autumn, mode))
    else:
        sync.accept(changes, autumn, None)
    return autumn
