"""Stripe's objects in the simulator: new objects, and objects after an update.

They have every key of Stripe's example objects; a test compares them. Nothing here knows about requests.
"""

import random
import string
from typing import Any

from sandbox.stripe.errors import Json, invalid
from sandbox.stripe.requests import MOST_METADATA

_ALPHABET = string.ascii_letters + string.digits
_UNSET_BY_EMPTY = {"description", "email", "name", "phone", "receipt_email"}


def new_id(prefix: str, length: int, rng: random.Random) -> str:
    """Return an id in the form of Stripe: cus_ and 14 characters, pi_ and 24. It does not depend on the mode."""
    return f"{prefix}_{''.join(rng.choices(_ALPHABET, k=length))}"


def customer(customer_id: str, *, created: int, livemode: bool, invoice_prefix: str) -> Json:
    """Return a customer without values; `created` is in seconds since the epoch."""
    return {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": invoice_prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": livemode,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def deleted_customer(customer_id: str) -> Json:
    """Return the remaining fields of a deleted customer."""
    return {"id": customer_id, "object": "customer", "deleted": True}


def payment_intent(payment_intent_id: str, *, created: int, livemode: bool) -> Json:
    """Return a payment intent that waits for a payment method; `created` is in seconds since the epoch."""
    nothing_yet = (
        "application application_fee_amount canceled_at cancellation_reason customer customer_account "
        "description excluded_payment_method_types last_payment_error latest_charge managed_payments "
        "next_action on_behalf_of payment_method payment_method_configuration_details processing "
        "receipt_email review setup_future_usage shipping source statement_descriptor "
        "statement_descriptor_suffix transfer_data transfer_group"
    )
    return {
        **dict.fromkeys(nothing_yet.split()),
        "id": payment_intent_id,
        "object": "payment_intent",
        "amount": 1000,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "automatic_payment_methods": {"enabled": True},
        "capture_method": "automatic",
        "client_secret": f"{payment_intent_id}_secret_sandbox",
        "confirmation_method": "automatic",
        "created": created,
        "currency": "usd",
        "livemode": livemode,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
    }


def charge(charge_id: str, payment_intent: Json, *, created: int) -> Json:
    """Return the charge of a paid payment intent; `created` is in seconds since the epoch.

    It has no payment method, like the payment intent.
    """
    nothing = (
        "application_fee calculated_statement_descriptor failure_balance_transaction failure_code failure_message "
        "payment_method_details receipt_number source source_transfer"
    )
    as_the_intent = (
        "amount application application_fee_amount currency customer description livemode metadata on_behalf_of "
        "payment_method receipt_email review shipping statement_descriptor statement_descriptor_suffix "
        "transfer_data transfer_group"
    )
    nowhere = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    unsaid = dict.fromkeys(("advice_code", "network_advice_code", "network_decline_code", "reason"))
    return {
        **dict.fromkeys(nothing.split()),
        **{name: payment_intent[name] for name in as_the_intent.split()},
        "id": charge_id,
        "object": "charge",
        "amount_captured": payment_intent["amount"],
        "amount_refunded": 0,
        "balance_transaction": f"txn_{charge_id.removeprefix('ch_')}",
        "billing_details": {"address": nowhere, **dict.fromkeys(("email", "name", "phone", "tax_id"))},
        "captured": True,
        "created": created,
        "disputed": False,
        "fraud_details": {},
        "outcome": {
            **unsaid,
            "network_status": "approved_by_network",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": payment_intent["id"],
        "receipt_url": f"https://pay.stripe.com/receipts/{charge_id}",
        "refunded": False,
        "refunds": {"object": "list", "data": [], "has_more": False, "url": f"/v1/charges/{charge_id}/refunds"},
        "status": "succeeded",
    }


def invoice(invoice_id: str, customer: Json, *, created: int, amount: int) -> Json:
    """Return an open invoice that was finalized at `created`, in seconds since the epoch, with the customer of then."""
    nothing = (
        "account_name account_tax_ids application automatically_finalizes_at custom_fields customer_account "
        "customer_shipping default_payment_method default_source description due_date footer from_invoice "
        "hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt on_behalf_of "
        "parent receipt_number rendering shipping_cost shipping_details statement_descriptor subscription "
        "test_clock total_pretax_credit_amounts total_taxes webhooks_delivered_at"
    )
    no_list = ("customer_tax_ids", "default_tax_rates", "discounts", "total_discount_amounts")
    never = ("marked_uncollectible_at", "paid_at", "voided_at")
    totals = ("amount_due", "amount_remaining", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax")
    zero = (
        "amount_overpaid amount_paid amount_shipping attempt_count ending_balance post_payment_credit_notes_amount "
        "pre_payment_credit_notes_amount starting_balance"
    )
    return {
        **dict.fromkeys(nothing.split()),
        **{name: [] for name in no_list},
        **{f"customer_{name}": customer[name] for name in ("address", "email", "name", "phone", "tax_exempt")},
        **dict.fromkeys(totals, amount),
        **dict.fromkeys(zero.split(), 0),
        **dict.fromkeys(("created", "effective_at", "period_end", "period_start"), created),
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {**dict.fromkeys(("disabled_reason", "liability", "provider", "status")), "enabled": False},
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "currency": "usd",
        "customer": customer["id"],
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{invoice_id}/lines"},
        "livemode": customer["livemode"],
        "metadata": {},
        "number": f"{customer['invoice_prefix']}-{invoice_id.rpartition('_')[2]}",
        "payment_settings": dict.fromkeys(("default_mandate", "payment_method_options", "payment_method_types")),
        "status": "open",
        "status_transitions": {**dict.fromkeys(never), "finalized_at": created},
    }


def account(account_id: str) -> Json:
    """Return the account of the key; it has no field for the mode."""
    return {
        "id": account_id,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


def with_fields(blank: Json, fields: Json) -> Json:
    """Return the blank object with these fields. Raises: ValueError for a field that it does not have."""
    unknown = fields.keys() - blank.keys()
    if unknown:
        raise ValueError(f"A {blank['object']} has no {', '.join(sorted(unknown))}.")
    return {**blank, **fields}


def with_changes(before: Json, changes: Json) -> Json:
    """Return the object after an update with validated parameters: metadata merges, an empty value unsets.

    Raises: StripeError if the result has too much metadata.
    """
    after = dict(before)
    for name, value in changes.items():
        if name == "metadata":
            after["metadata"] = _merged(before["metadata"], value)
        elif name != "expand":
            after[name] = None if value == "" and name in _UNSET_BY_EMPTY else value
    return after


def _merged(before: dict[str, Any], changes: dict[str, str] | None) -> dict[str, Any]:
    if changes is None:
        return {}
    merged = {key: value for key, value in {**before, **changes}.items() if value != ""}
    if len(merged) > MOST_METADATA:
        raise invalid("metadata", f"Metadata can have up to {MOST_METADATA} keys; this would be {len(merged)}.")
    return merged
