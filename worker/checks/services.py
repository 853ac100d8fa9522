"""The checks of `customer-sync doctor` for Autumn and Stripe. They only read, and take no slots of the rates.

A request for a customer that does not exist shows whether a key may read: 404 if it may, else 403 with the missing
permission. Whether a key may write can only be seen by writing, so the result says that it is unknown.
"""

import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from config.autumn_versions import DEFAULT_VERSION, supports_scans
from config.settings import Settings
from jobs.autumn.client import AutumnClient
from jobs.autumn.errors import NOT_IN_AUTUMN
from jobs.autumn.pages import ListedCustomer, PageSize, fitting_page
from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain
from jobs.notifications.message import Notification
from jobs.plan.customer import AUTUMN_MODES, NoCustomer
from jobs.plan.policy import Policy
from jobs.stripe.client import StripeGateway
from jobs.stripe.errors import MISSING_PERMISSION
from jobs.sync.fetch import fetch_payments
from worker.checks.check import Check, Found
from worker.notifier import send

NOBODY: Final = "customer-sync-doctor"
"""The id of a customer that does not exist. It does no harm if it does exist."""
NOBODY_IN_STRIPE: Final = "cus_customersyncdoctor"
NEWEST: Final = 1000
LINKED_TRIED: Final = 5
AUTUMN_UPDATES_MAX, AUTUMN_IN_FLIGHT_MAX = 25, 8
STRIPE_MAX: Final = {"live": 100, "test": 25}
STRIPE_ENDPOINT_MAX: Final = 25
AN_EVENT: Final = "customer.deleted"
"""Any type of event: a request for one shows the permission for all."""
PLACES: Final = {"autumn": "AUTUMN_API_URL", "stripe": "STRIPE_API_BASE"}


@dataclass
class Services:
    """Both services and their settings. `newest` are Autumn's newest customers, after the check that reads them."""

    settings: Settings
    autumn: AutumnClient
    stripe: StripeGateway
    newest: tuple[ListedCustomer, ...] = field(default=())

    @property
    def linked(self) -> list[str]:
        """The Stripe ids of some of the newest customers that are linked."""
        return [customer.stripe_id for customer in self.newest if customer.stripe_id][:LINKED_TRIED]


def service_error_in_words(error: Exception) -> Found:
    """Return the result for an error of a service. Raises the error itself if it is not a service's."""
    if not isinstance(error, SyncError):
        raise error
    name = error.service.capitalize()
    if isinstance(error, Halt):
        if error.code == MISSING_PERMISSION:
            return Found("wrong", error.message, "Add the permission to the key in Stripe")
        return Found("wrong", f"{name} answers {error.code}", error.fix)
    if isinstance(error, Limited):
        return Found("warning", f"{name} answers {error.code}: other callers use up the limit", "Run doctor again")
    if isinstance(error, TryAgain):
        fix = f"Check {PLACES.get(error.service)} and the network, then run doctor again"
        return Found("wrong", f"{name} cannot be used: {error.code}", fix)
    return Found("wrong", f"{name} refuses a simple read: {error.code}", "Look up the code in docs/operations.md")


async def _autumn_key(services: Services) -> Found:
    try:
        await services.autumn.get(NOBODY)
    except GiveUp as error:
        if error.code != NOT_IN_AUTUMN:
            raise
    return Found("ok", "the key may read customers; only a write shows whether it may write them")


async def _autumn_version(services: Services) -> Found:
    version, fix = services.settings.autumn_api_version, f"Set AUTUMN_API_VERSION={DEFAULT_VERSION}"
    if not await _is_readable(_read_customers(services), version):
        return Found(
            "wrong", f"{version}: events and scans do not work, because its customers have another format", fix
        )
    if not supports_scans(version):
        return Found("warning", f"{version}: events work, scans do not, because its lists have no cursors", fix)
    if not await _is_readable(services.autumn.list_page(limit=1), version):
        return Found("warning", f"{version}: events work, scans do not, because its lists have another format", fix)
    return Found("ok", f"{version}: events and scans work")


async def _read_customers(services: Services) -> None:
    services.newest = tuple(await fitting_page(services.autumn.newest, PageSize(NEWEST)))
    known = next((customer.id for customer in services.newest if customer.id), None)
    if known is not None:
        with suppress(GiveUp):  # It may be deleted by now.
            await services.autumn.get(known)


async def _is_readable(call: Awaitable[object], version: str) -> bool:
    """Return whether this software can read the answer.

    Raises SyncError if there is no answer, or if it is unreadable although the version is our default.
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
        return Found("skipped", "Autumn has no customer yet; the first one shows the environment")
    env = services.newest[0].env
    mode = AUTUMN_MODES.get(env)
    if mode != services.settings.mode:
        text = f"Autumn answers for {env}, but both keys begin like {services.settings.mode} keys"
        return Found("wrong", text, "Set AUTUMN_SECRET_KEY to a key of the right environment")
    return Found("ok", f"{env}, as the keys say")


async def _stripe_key(services: Services) -> Found:
    await services.stripe.retrieve(NOBODY_IN_STRIPE)
    key = services.settings.stripe_api_key.get_secret_value()
    if key.startswith("rk_"):
        return Found("ok", "the restricted key may read customers; only a write shows whether it may write them")
    return Found("ok", f"a secret key of {services.settings.mode} mode")


async def _stripe_search(services: Services) -> Found:
    if await services.stripe.has_search():
        return Found("ok", "the account can search customers")
    text = (
        "the account has no search: a customer is linked only if a Stripe customer with its id has its e-mail "
        "address; otherwise none is created, because one may exist with another address"
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
        return Found(
            "ok", "the key may read payments; the first payment of a customer shows whether it may read charges"
        )
    return Found("ok", "the key may read payments; only a write shows whether it may write them")


async def _stripe_events(services: Services) -> Found:
    seconds = services.settings.events_poll_seconds
    if not seconds:
        return Found("skipped", "STRIPE_EVENTS_POLL_SECONDS=0 reads no events")
    now = int(time.time())
    try:
        await services.stripe.event_page([AN_EVENT], created_gte=now, created_lte=now, after="")
    except Halt as error:
        if error.code != MISSING_PERMISSION:
            raise
        text = "the key may not read events, so the watch is off: only scans notice what happens in Stripe"
        return Found("warning", text, "Add the permission Events: read to the key in Stripe")
    return Found("ok", f"the key may read events; they are read every {seconds:.0f} s")


async def _same_account(services: Services) -> Found:
    if not services.linked:
        return Found("skipped", "no customer in Autumn is linked yet; the first one shows the account")
    for stripe_id in services.linked:
        customer = await services.stripe.retrieve(stripe_id)
        if customer is NoCustomer.MISSING:
            continue
        if not isinstance(customer, NoCustomer) and customer.mode != services.settings.mode:
            text = f"Stripe answers for {customer.mode} mode, but the key begins like a {services.settings.mode} key"
            return Found("wrong", text, "Set STRIPE_API_KEY to a key of the right mode")
        return Found("ok", "STRIPE_API_KEY finds a linked customer of Autumn")
    # Stripe also returns deleted customers, so an unknown one never existed in this account.
    text = f"STRIPE_API_KEY finds none of {len(services.linked)} linked customers of Autumn"
    return Found("wrong", text, "Use a key of the Stripe account that Autumn is connected to")


async def _limits(settings: Settings) -> Found:
    over = [
        f"{name} is {value:g}, the service allows {most}"
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
    return Found("ok", "all rates are within the default limits of the services")


async def _webhooks(settings: Settings) -> Found:
    """Check the webhooks as far as settings show them. Loading the settings has checked the form of each secret."""
    secrets, seconds = len(settings.stripe_webhook_secrets), settings.events_poll_seconds
    if not secrets:
        return Found("ok", "no STRIPE_WEBHOOK_SECRETS, so events are only polled")
    if settings.port is None:
        return Found("warning", "without PORT no webhook is received", "Set PORT, or unset STRIPE_WEBHOOK_SECRETS")
    if not seconds:
        text = "STRIPE_EVENTS_POLL_SECONDS=0: an event whose webhook is lost is found only by a scan"
        return Found("warning", text, "Unset STRIPE_EVENTS_POLL_SECONDS")
    number = "one secret" if secrets == 1 else f"{secrets} secrets"
    return Found("ok", f"{number} of the right form for POST /stripe/webhook")


async def _intake(settings: Settings) -> Found:
    if not settings.intake_tokens:
        return Found("ok", "no INTAKE_TOKENS, so apps send events only over Redis")
    if settings.port is None:
        return Found("warning", "without PORT no event over HTTP is received", "Set PORT, or unset INTAKE_TOKENS")
    number = len(settings.intake_tokens)
    return Found("ok", f"{number} {'token' if number == 1 else 'tokens'} for POST /v1/events")


async def _notifications(settings: Settings) -> Found:
    if settings.notify_url is None:
        return Found("ok", "no NOTIFY_URL, so no notifications are sent")
    if settings.notify_secret is None and settings.notify_format == "json":
        text = "NOTIFY_URL without NOTIFY_SECRET: the receiver cannot check who sent a notification"
        return Found("warning", text, "Set NOTIFY_SECRET, and let the receiver check the signature")
    return Found("ok", f"workers send them as {settings.notify_format}; --test-notification sends one now")


async def _send_test_notification(settings: Settings) -> Found:
    if settings.notify_url is None:
        return Found("wrong", "NOTIFY_URL is not set", "Set NOTIFY_URL, or do not pass --test-notification")
    text = "This is a test of `customer-sync doctor`. Nothing is wrong."
    error = await send(settings, [Notification(f"test:{time.time_ns() // 1_000_000}", "test", text)])
    if error:
        fix = "Check NOTIFY_URL, NOTIFY_FORMAT, NOTIFY_SECRET and the receiver"
        return Found("wrong", f"the receiver did not accept a test notification ({error})", fix)
    return Found("ok", "the receiver accepted a test notification")


async def _receipts(settings: Settings) -> Found:
    """Name the Stripe settings that also affect receipts. Stripe has no API to check them."""
    also = [
        f"RECEIPTS={settings.receipts}",
        'if "Successful payments" is on in the dashboard, Stripe mails all receipts and ignores the flag',
        "an invoice's receipt needs an e-mail address when the invoice is finalised",
    ]
    if settings.mode == "test":
        also.append("in test mode, Stripe mails only the account's own team")
    return Found("ok", "; ".join(also))


SERVICE_CHECKS: Final = (
    Check("autumn-key", _autumn_key),
    Check("autumn-version", _autumn_version, ("autumn-key",)),
    Check("autumn-environment", _autumn_environment, ("autumn-version",)),
    Check("stripe-key", _stripe_key),
    Check("stripe-search", _stripe_search, ("stripe-key",)),
    Check("stripe-payments", _stripe_payments, ("stripe-key",)),
    Check("stripe-events", _stripe_events, ("stripe-key",)),
    Check("same-account", _same_account, ("autumn-version", "stripe-key")),
)
SETTINGS_CHECKS: Final = (
    Check("limits", _limits),
    Check("webhooks", _webhooks),
    Check("http-events", _intake),
    Check("notifications", _notifications),
    Check("receipts", _receipts),
)
TEST_NOTIFICATION: Final = Check("test-notification", _send_test_notification)
"""The only check that sends anything to others. It runs only if a person asks for it."""
