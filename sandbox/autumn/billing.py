"""Billing controls, settings and billing details, as Autumn stores them, returns them and sends them to Stripe.

Pure: no HTTP, no Stripe, no clock. A request replaces each list of the billing controls separately, as recorded for an
empty customer. Tax ids and the custom fields of invoices are only stored here, by their Stripe customer: the simulated
Stripe has no endpoint for them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.autumn.rows import RefusedError, Row
from sandbox.autumn.stripe_client import Form

_BILLING_DETAILS_SINCE: Final = "2.5"
"""The first version that knows `billing_details`; an older one ignores them silently."""
_ON_BY_DEFAULT: Final = "usage_alerts"
_ADDRESS: Final = ("city", "country", "line1", "line2", "postal_code", "state")
_VAT: Final = re.compile(r"[A-Z]{2}[0-9A-Z]{2,12}", re.ASCII)


@dataclass(frozen=True)
class InvoiceDetails:
    """The details that Autumn stored in a Stripe customer besides its address: tax ids (type, value), custom fields."""

    tax_ids: tuple[tuple[str, str], ...] = ()
    custom_fields: tuple[tuple[str, str], ...] = ()


def changed_billing(before: Row, body: Mapping[str, Any]) -> Row:
    """Return the billing controls and the config after a request that names them."""
    changes: Row = {}
    if body.get("billing_controls"):
        controls = {
            name: [{"enabled": name == _ON_BY_DEFAULT, **each} for each in items]
            for name, items in body["billing_controls"].items()
        }
        changes["billing_controls"] = {**before["billing_controls"], **controls}
    if body.get("config"):
        changes["config"] = {**before["config"], **body["config"]}
    return changes


def refuse_billing_details(body: Mapping[str, Any], version: str) -> None:
    """Refuse billing details in get_or_create: the simulator cannot create a Stripe customer for them, as Autumn does.

    Raises:
        RefusedError: 501.
    """
    if body.get("billing_details") and version >= _BILLING_DETAILS_SINCE:
        raise RefusedError(501, "not_simulated", "This simulator takes billing details with an update only")


def stripe_billing_details(stripe_id: str | None, body: Mapping[str, Any], version: str) -> Form:
    """Return the form fields that write the billing details of a request to the linked Stripe customer.

    Raises:
        RefusedError: 400 for a customer that is not linked.
    """
    details = body.get("billing_details")
    if not details or version < _BILLING_DETAILS_SINCE:
        return {}
    if not stripe_id:
        raise RefusedError(400, "invalid_request", "billing_details: the customer has no Stripe customer")
    form: Form = {}
    if "address" in details:
        address = details["address"]
        form |= {f"address[{name}]": address.get(name) or "" for name in _ADDRESS} if address else {"address": ""}
    if "tax_exempt" in details:
        form["tax_exempt"] = details["tax_exempt"]
    return form


def invoice_details(before: InvoiceDetails, body: Mapping[str, Any], version: str) -> InvoiceDetails:
    """Return the tax ids and custom fields after a request. A tax id that is there already is not added again.

    Raises:
        RefusedError: 400 for a VAT id in a form that Stripe refuses, before anything is written.
    """
    details = body.get("billing_details")
    if not details or version < _BILLING_DETAILS_SINCE:
        return before
    changes, settings = details.get("tax_ids", {}), details.get("invoice_settings", {})
    added = [(each["type"], each["value"]) for each in changes.get("add", ())]
    removed = {(each["type"], each["value"]) for each in changes.get("remove", ())}
    if any(kind == "eu_vat" and not _VAT.fullmatch(value) for kind, value in added):
        raise RefusedError(400, "stripe_error", "(Stripe Error) Invalid value for eu_vat.")
    tax_ids = tuple(each for each in dict.fromkeys([*before.tax_ids, *added]) if each not in removed)
    if "custom_fields" not in settings:
        return InvoiceDetails(tax_ids, before.custom_fields)
    custom_fields = tuple((each["name"], each["value"]) for each in settings["custom_fields"] or ())
    return InvoiceDetails(tax_ids, custom_fields)
