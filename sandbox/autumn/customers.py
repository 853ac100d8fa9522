"""The endpoints of Autumn's customers API for one customer, without locks, as in the real service.

An update reads the customer, merges, calls Stripe, and only then writes. Two parallel updates lose each other's
changes, as they do at Autumn. Nothing here knows about HTTP, keys or limits.
"""

import asyncio
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sandbox.autumn import checks
from sandbox.autumn.billing import (
    InvoiceDetails,
    changed_billing,
    invoice_details,
    refuse_billing_details,
    stripe_billing_details,
)
from sandbox.autumn.reads import Behaviour, Reads, found
from sandbox.autumn.rows import RefusedError, Row, merged_metadata, new_row, shown
from sandbox.autumn.stripe_client import Form, StripeCaller, stripe_metadata

Body = Mapping[str, Any]

_ID_CHARACTERS = string.ascii_letters + string.digits
_PLAIN_FIELDS = ("name", "email", "fingerprint", "send_email_receipts")


@dataclass
class Organisation:
    """One organisation in one environment: its customers, its Stripe account, its options.

    `database_seconds` is the time of a write to the database after the call to Stripe. `replica` is the state of lists,
    None if they are current.
    """

    env: str
    clock: Callable[[], float]
    stripe: StripeCaller
    behaviour: Behaviour
    forwards_metadata: bool = False
    database_seconds: float = 0.0
    customers: dict[str, Row] = field(default_factory=dict)
    invoice_details: dict[str, InvoiceDetails] = field(default_factory=dict)
    """By Stripe customer."""
    replica: dict[str, Row] | None = None
    random: Random = field(default_factory=lambda: Random(0))
    reads: Reads = field(init=False)

    def __post_init__(self) -> None:
        """Set up the reads of these customers."""
        self.reads = Reads(self.customers, self.clock, self.behaviour)

    def blank(self, customer_id: str | None) -> Row:
        """Return a new customer that is not stored yet."""
        internal_id = "cus_" + "".join(self.random.choices(_ID_CHARACTERS, k=27))
        return new_row(customer_id, internal_id, round(self.clock() * 1000), self.env)

    def keep(self, row: Row) -> None:
        """Store a customer, under its internal id if it has no id."""
        self.customers[kept_under(row)] = row

    def find(self, customer_id: str) -> Row | None:
        """Return a customer by its id or its internal id."""
        return found(self.customers, customer_id)

    def existing(self, customer_id: str) -> Row:
        """Return a customer that must exist.

        Raises:
            RefusedError: 404.
        """
        return _existing(self.find(customer_id), customer_id)


async def update(org: Organisation, body: Body, version: str) -> Row:
    """Serve `customers.update`."""
    checks.check(body, checks.UPDATE)
    row = org.existing(body["customer_id"])
    before = dict(row)
    _refuse_rename(org, before, body)
    stripe_id = await _checked_link(org, before, body)
    change = body.get("metadata") or {}
    metadata = merged_metadata(before["metadata"], change)
    details = stripe_billing_details(stripe_id, body, version)
    if stripe_id:
        known = org.invoice_details.get(stripe_id, InvoiceDetails())
        org.invoice_details[stripe_id] = invoice_details(known, body, version)
        form = _stripe_form(before, body)
        if org.forwards_metadata and change:
            form |= stripe_metadata(metadata, [key for key, value in change.items() if value is None])
        await org.stripe.update(stripe_id, form | details)
    await asyncio.sleep(org.database_seconds)
    changes = {name: body[name] for name in _PLAIN_FIELDS if name in body} | changed_billing(before, body)
    if "stripe_id" in body:
        changes["stripe_id"] = stripe_id
    if org.customers.get(kept_under(row)) is not row:
        raise RefusedError(404, "customer_not_found", f"Customer {body['customer_id']} not found")
    write(org, row, {**changes, "metadata": metadata})
    if body.get("new_customer_id"):
        _rename(org, row, body["new_customer_id"])
    return shown(row, version)


async def get(org: Organisation, body: Body, version: str, *, skips_cache: bool = False) -> Row:
    """Serve `customers.get`; `skips_cache` is the header `x-skip-cache: true`."""
    checks.check(body, checks.NAMED)
    customer_id = body["customer_id"]
    row = _existing(org.reads.one(customer_id, skips_cache=skips_cache), customer_id)
    internal = {"autumn_id": row["internal_id"]} if body.get("with_autumn_id") else {}
    return internal | shown(row, version)


async def get_or_create(org: Organisation, body: Body, version: str) -> Row:
    """Serve `customers.get_or_create`: an existing customer keeps its name and email unless they are empty."""
    checks.check(body, checks.GET_OR_CREATE)
    refuse_billing_details(body, version)
    customer_id, email = body["customer_id"], body.get("email")
    if customer_id is None and not email:
        raise RefusedError(400, "invalid_request", "Either customer ID or email is required")
    row = org.find(customer_id) if customer_id else _nameless(org, email)
    if row is None:
        row = await _create(org, body)
    else:
        empty = {name: body[name] for name in ("name", "email") if body.get(name) and not row[name]}
        flag = {name: body[name] for name in ("send_email_receipts",) if name in body}
        write(org, row, {**empty, **flag})
    if body.get("create_in_stripe") and not row["stripe_id"]:
        forwarded = stripe_metadata(row["metadata"], []) if org.forwards_metadata else {}
        write(org, row, {"stripe_id": (await org.stripe.create(row, forwarded))["id"]})
    return shown(row, version)


async def delete(org: Organisation, body: Body, version: str) -> Row:  # noqa: ARG001 - endpoints are called alike
    """Serve `customers.delete`."""
    checks.check(body, checks.NAMED)
    row = org.existing(body["customer_id"])
    if body.get("delete_in_stripe") and row["stripe_id"]:
        await org.stripe.delete(row["stripe_id"])
    _drop(org, row)
    return {"success": True}


def write(org: Organisation, row: Row, changes: Mapping[str, Any]) -> None:
    """Write values into a stored row; an empty name is stored as null.

    Raises:
        RefusedError: 500 for a NUL byte, which the database behind Autumn cannot store.
    """
    _refuse_nul(changes)
    row.update(changes)
    row["name"] = row["name"] or None
    org.reads.changed(kept_under(row))


@dataclass(frozen=True)
class Copied:
    """The fields that one event of Stripe changed in a customer of Autumn."""

    at: float
    """The time of the copy, in seconds since the epoch."""
    event_id: str
    customer_id: str
    changed: dict[str, tuple[Any, Any]]
    """The fields with another value than before, as (before, after)."""


def copy_from_stripe(org: Organisation, event: Mapping[str, Any]) -> Copied | None:
    """Copy a name or email that is not empty from a `customer.updated` event of Stripe; return the changes.

    An event whose idempotency key begins with `autumn:` changes nothing. If several customers are linked to the
    Stripe customer, the oldest one changes. Return None if no value changed.
    """
    key = (event.get("request") or {}).get("idempotency_key") or ""
    customer = event["data"]["object"]
    row = next((row for row in org.customers.values() if row["stripe_id"] == customer["id"]), None)
    if row is None or key.startswith("autumn:"):
        return None
    before = dict(row)
    write(org, row, {name: customer[name] for name in ("name", "email") if customer.get(name)})
    changed = {name: (before[name], row[name]) for name in ("name", "email") if before[name] != row[name]}
    return Copied(org.clock(), event["id"], kept_under(row), changed) if changed else None


async def _create(org: Organisation, body: Body) -> Row:
    row = org.blank(body["customer_id"])
    stripe_id = body.get("stripe_id") or None
    plain = {name: body[name] for name in _PLAIN_FIELDS if name in body}
    given = {**plain, **changed_billing(row, body), "stripe_id": stripe_id, "metadata": body.get("metadata") or {}}
    _refuse_nul(given)
    org.keep(row)
    write(org, row, given)
    if stripe_id:
        await org.stripe.import_billing(stripe_id)
    return row


async def _checked_link(org: Organisation, before: Row, body: Body) -> str | None:
    """Return the Stripe customer that the customer will be linked to; Stripe must have a new one."""
    wanted = body.get("stripe_id", before["stripe_id"]) or None
    if wanted and wanted != before["stripe_id"]:
        await org.stripe.retrieve(wanted)
    return wanted


def _stripe_form(before: Row, body: Body) -> Form:
    changed = ("email", "name")
    return {name: body[name] for name in changed if body.get(name) is not None and body[name] != before[name]}


def _refuse_rename(org: Organisation, before: Row, body: Body) -> None:
    if "new_customer_id" not in body:
        return
    wanted = body["new_customer_id"]
    if wanted is None:
        raise RefusedError(400, "invalid_request", "Customer ID cannot be set to null")
    if wanted != before["id"] and org.find(wanted):
        message = f"Customer with ID {wanted} already exists, can't change to this ID"
        raise RefusedError(409, "customer_already_exists", message)


def _rename(org: Organisation, row: Row, customer_id: str) -> None:
    _drop(org, row)
    row["id"] = customer_id
    org.keep(row)
    org.reads.changed(kept_under(row))


def _drop(org: Organisation, row: Row) -> None:
    org.customers.pop(kept_under(row), None)
    org.reads.changed(kept_under(row))


def kept_under(row: Row) -> str:
    """Return the key of a row: the customer's id, or its internal id if it has none."""
    return str(row["id"] or row["internal_id"])


def _existing(row: Row | None, customer_id: str) -> Row:
    if row is None:
        raise RefusedError(404, "customer_not_found", f"Customer {customer_id} not found")
    return row


def _refuse_nul(changes: Mapping[str, Any]) -> None:
    if _has_nul(changes):
        raise RefusedError(500, "internal_error", 'invalid byte sequence for encoding "UTF8": 0x00')


def _has_nul(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_has_nul(part) for part in value)
    return isinstance(value, str) and "\0" in value


def _nameless(org: Organisation, email: str | None) -> Row | None:
    return next((row for row in org.customers.values() if row["id"] is None and row["email"] == email), None)
