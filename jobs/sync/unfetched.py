"""Apply changes, without a fetch if the values of an earlier one can be trusted (`jobs.plan.verified`).

An update without a name or e-mail is then one call, and one with them is two: Stripe first. Whatever does not fit leads
to the fetch that was left out, in the same sync.
"""

from collections.abc import Sequence

from jobs.errors import Absent, GiveUp
from jobs.plan.customer import Payments, StripeCustomer, StripeView
from jobs.plan.merge import Changes, cleared, flat
from jobs.plan.plan import Request
from jobs.plan.verified import Verified, after_write, can_be_written
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
    if verified is not None:
        request = await _send(sync, verified, request, entries, parts)
    await sync.agree(request, entries, parts)


async def _send(
    sync: CustomerSync, verified: Verified, request: Request, entries: Sequence[str], parts: Sequence[Changes]
) -> Request:
    """Send the changes without a fetch. Return the rest of the request: all of it if a service refused them."""
    writes, memory, changes = sync.writes, sync.memory, request.changes
    mode, customer_id = writes.deps.mode, writes.batch.customer_id
    agreed = {**verified.digests, **memory.digests({"send_email_receipts": verified.receipts_on})}
    memory.expect(sync.tracked(flat(changes)), agreed, agreed, [flat(each) for each in parts])
    write, written = verified.first_write(changes), None
    try:
        if write is not None:
            memory.note_link(verified.stripe_id)
            await writes.remember(memory)
            unknown = StripeCustomer(verified.stripe_id, name=None, email=None, mode=mode)
            written = sync.as_sent(write, unknown, await writes.update_stripe(write, entries))
            # The webhook of a value that this replaced may bring it back.
            sync.profile_changed = True
        memory.expect_echo_of(verified.digests, besides={*changes})
        autumn = as_autumn_customer(await writes.update_autumn(changes, verified.stripe_id))
    except (GiveUp, Absent):
        # The fetch shows why, and the plan knows what to do.
        return request
    writes.totals["unfetched"] += 1
    now = verified if write is None else after_write(verified, customer_id, write)
    if written is not None and autumn.stripe_id == written.id:
        # The answer of the write shows Stripe's side.
        keeps_payments = autumn.send_email_receipts == verified.receipts_on and "email" not in changes
        view = StripeView(linked=written, payments=Payments(()) if keeps_payments else None)
        sync.accept(changes, autumn, view, is_blind=True)
    elif now.fits(autumn, mode):
        sync.accept(changes, autumn, now.view(autumn, mode))
        sync.fetched_at = verified.at
    else:
        sync.accept(changes, autumn, None, is_blind=True)
    _, view = await sync.fetch(Request())
    return sync.rest(request, changes, autumn, view.linked)
