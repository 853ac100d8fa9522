"""What `customer-sync doctor` checks about Autumn and Stripe. Reads only, and past the rates, which are in Redis.

What a key may read is told by a look for a customer that is not there: a 404 where it may, a 403 that names the
permission where it may not. What a key may write shows only in writing, and is said to be unknown.
"""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from config.autumn_versions import DEFAULT_VERSION, supports_scans
from config.settings import Settings
from jobs.autumn.client import AutumnClient
from jobs.autumn.pages import ListedCustomer, PageSize, fitting_page
from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain
from jobs.plan.customer import AUTUMN_MODES, NoCustomer
from jobs.plan.policy import Policy
from jobs.stripe.client import StripeGateway
from jobs.sync.fetch import fetch_payments
from worker.checks.check import Check, Found

NOBODY: Final = "customer-sync-doctor"
"""A customer that neither service has; it does no harm if one does."""
NOBODY_IN_STRIPE: Final = "cus_customersyncdoctor"
NEWEST: Final = 1000
LINKED_TRIED: Final = 5
AUTUMN_UPDATES_MAX, AUTUMN_IN_FLIGHT_MAX = 25, 8
STRIPE_MAX: Final = {"live": 100, "test": 25}
STRIPE_ENDPOINT_MAX: Final = 25
PLACES: Final = {"autumn": "AUTUMN_API_URL", "stripe": "STRIPE_API_BASE"}


@dataclass
class Services:
    """Both services and the settings they were opened with; `newest` are Autumn's newest customers, once looked at."""

    settings: Settings
    autumn: AutumnClient
    stripe: StripeGateway
    newest: tuple[ListedCustomer, ...] = field(default=())

    @property
    def linked(self) -> list[str]:
        """The Stripe customers that some of the newest are linked to."""
        return [customer.stripe_id for customer in self.newest if customer.stripe_id][:LINKED_TRIED]


def service_error_in_words(error: Exception) -> Found:
    """What an error of a service means. Raises the error itself where it is none of theirs."""
    if not isinstance(error, SyncError):
        raise error
    name = error.service.capitalize()
    if isinstance(error, Halt):
        if error.code == "missing_permission":
            return Found("wrong", error.message, "Add it to the key in Stripe")
        return Found("wrong", f"{name} answers {error.code}", error.message.split(" It said: ", maxsplit=1)[0])
    if isinstance(error, Limited):
        return Found("warning", f"{name} answers {error.code}: the limit is used up by others", "Run doctor again")
    if isinstance(error, TryAgain):
        fix = f"Check {PLACES.get(error.service)} and the way there, then run doctor again"
        return Found("wrong", f"{name} cannot be used: {error.code}", fix)
    return Found("wrong", f"{name} refuses a plain look: {error.code}", "Look the code up in docs/operations.md")


async def _autumn_key(services: Services) -> Found:
    try:
        await services.autumn.get(NOBODY)
    except GiveUp as error:
        if error.code != "customer_not_found":
            raise
    return Found("ok", "the key may read customers; that it may write them shows only in writing")


async def _autumn_version(services: Services) -> Found:
    version, fix = services.settings.autumn_api_version, f"Set AUTUMN_API_VERSION={DEFAULT_VERSION}"
    if not await _is_readable(_read_customers(services), version):
        return Found("wrong", f"{version}: neither events nor scans work, because its customers have another form", fix)
    if not supports_scans(version):
        return Found("warning", f"{version}: events work, scans do not, because its lists have no cursors", fix)
    if not await _is_readable(services.autumn.list_page(limit=1), version):
        return Found("warning", f"{version}: events work, scans do not, because its lists have another form", fix)
    return Found("ok", f"{version}: events and scans work")


async def _read_customers(services: Services) -> None:
    services.newest = tuple(await fitting_page(services.autumn.newest, PageSize(NEWEST)))
    known = next((customer.id for customer in services.newest if customer.id), None)
    if known is not None:
        with suppress(GiveUp):  # It may be deleted by now.
            await services.autumn.get(known)


async def _is_readable(call: Awaitable[object], version: str) -> bool:
    """Whether the answer has the form that this software reads.

    Raises SyncError if there is no answer, or if it cannot be read although the version is the one that we know.
    """
    try:
        await call
    except TryAgain as error:
        if error.code != "unexpected_response" or version == DEFAULT_VERSION:
            raise
        return False
    return True


async def _autumn_environment(services: Services) -> Found:
    if not services.newest:
        return Found("skipped", "Autumn has no customer yet; the first one shows its environment")
    env = services.newest[0].env
    mode = AUTUMN_MODES.get(env)
    if mode != services.settings.mode:
        text = f"Autumn answers for {env}, and both keys look like {services.settings.mode} ones"
        return Found("wrong", text, "Replace AUTUMN_SECRET_KEY by a key of the right environment")
    return Found("ok", f"{env}, as the keys say")


async def _stripe_key(services: Services) -> Found:
    await services.stripe.retrieve(NOBODY_IN_STRIPE)
    key = services.settings.stripe_api_key.get_secret_value()
    if key.startswith("rk_"):
        return Found("ok", "the restricted key may read customers; that it may write them shows only in writing")
    return Found("ok", f"a secret key of {services.settings.mode} mode")


async def _stripe_search(services: Services) -> Found:
    if await services.stripe.has_search():
        return Found("ok", "customers can be searched for")
    text = (
        "the account has no search: an unlinked customer is linked only if one of ours has its e-mail address, else it "
        "stays unlinked; none is created, because ours may exist under another address"
    )
    return Found("warning", text, "Send a change with the stripe_id of the right Stripe customer for each of them")


async def _stripe_payments(services: Services) -> Found:
    policy = Policy(receipts=services.settings.receipts)
    if not policy.reads_payments:
        return Found("skipped", "RECEIPTS=mirror reads no payments")
    known = False
    for stripe_id in services.linked or [NOBODY_IN_STRIPE]:
        try:
            payments = await fetch_payments(services.stripe, stripe_id, policy)
        except Absent:
            continue
        known = known or bool(payments.intents)
    if policy.reads_charges and not known:
        return Found("ok", "payments may be read; that charges may be shows with the first payment of a customer")
    return Found("ok", "payments may be read; that they may be written shows only in writing")


async def _same_account(services: Services) -> Found:
    if not services.linked:
        return Found("skipped", "no customer of Autumn's is linked yet; the first one shows the account")
    for stripe_id in services.linked:
        customer = await services.stripe.retrieve(stripe_id)
        if customer is NoCustomer.MISSING:
            continue
        if not isinstance(customer, NoCustomer) and customer.mode != services.settings.mode:
            text = f"Stripe answers for {customer.mode} mode, and the key looks like a {services.settings.mode} one"
            return Found("wrong", text, "Replace STRIPE_API_KEY by a key of the right mode")
        return Found("ok", "a linked customer of Autumn's is known to the key of Stripe")
    # Stripe remembers customers that were deleted: what it does not know was never there.
    text = f"STRIPE_API_KEY knows none of {len(services.linked)} linked customers of Autumn's"
    return Found("wrong", text, "Use a key of the Stripe account that Autumn is connected to")


async def _limits(settings: Settings) -> Found:
    over = [
        f"{name} is {value:g}, the service takes {most}"
        for name, value, most in (
            ("AUTUMN_UPDATES_PER_SECOND", settings.autumn_updates_per_second, AUTUMN_UPDATES_MAX),
            ("AUTUMN_MAX_IN_FLIGHT", settings.autumn_max_in_flight, AUTUMN_IN_FLIGHT_MAX),
            ("STRIPE_REQUESTS_PER_SECOND", settings.stripe_rate, STRIPE_MAX[settings.mode]),
            (
                "STRIPE_ENDPOINT_REQUESTS_PER_SECOND",
                settings.stripe_endpoint_requests_per_second,
                STRIPE_ENDPOINT_MAX,
            ),
        )
        if value > most
    ]
    if over:
        return Found("warning", "; ".join(over), "Lower them, unless the service has raised your limit")
    return Found("ok", "all rates are within what the services take by default")


async def _receipts(settings: Settings) -> Found:
    """Name what else decides about receipts: Stripe has no API for it, so that it is not checked."""
    also = [
        f"RECEIPTS={settings.receipts}",
        'if the dashboard\'s "Successful payments" is on, Stripe mails receipts whatever the flag says',
        "an invoice's receipt needs an e-mail address when the invoice is finalised",
    ]
    if settings.mode == "test":
        also.append("test mode mails only the account's own people")
    return Found("ok", "; ".join(also))


SERVICE_CHECKS: Final = (
    Check("autumn-key", _autumn_key),
    Check("autumn-version", _autumn_version, ("autumn-key",)),
    Check("autumn-environment", _autumn_environment, ("autumn-version",)),
    Check("stripe-key", _stripe_key),
    Check("stripe-search", _stripe_search, ("stripe-key",)),
    Check("stripe-payments", _stripe_payments, ("stripe-key",)),
    Check("same-account", _same_account, ("autumn-version", "stripe-key")),
)
SETTINGS_CHECKS: Final = (Check("limits", _limits), Check("receipts", _receipts))
