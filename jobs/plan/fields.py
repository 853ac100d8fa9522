"""The values of a customer by field: a request and both sides in one form, each metadata key as a field of its own."""

from collections.abc import Mapping

from pydantic import JsonValue

from jobs.plan.customer import AutumnCustomer

Fields = Mapping[str, JsonValue]
"""Values by field: `name`, `email`, `stripe_id`, `send_email_receipts`, `metadata.KEY`."""
Digests = Mapping[str, str]
"""Digests of such values, by field."""


def shown_by(autumn: AutumnCustomer) -> dict[str, JsonValue]:
    """Return the values of a customer in Autumn, by field."""
    fields: dict[str, JsonValue] = {
        "name": autumn.name,
        "email": autumn.email,
        "stripe_id": autumn.stripe_id,
        "send_email_receipts": autumn.send_email_receipts,
        "fingerprint": autumn.fingerprint,
    }
    return fields | {f"metadata.{key}": value for key, value in autumn.metadata.items()}


def flat(values: Fields) -> dict[str, JsonValue]:
    """Return the values by field, each metadata key as a field of its own."""
    metadata = values.get("metadata")
    keys = {f"metadata.{key}": value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    return {name: value for name, value in values.items() if name != "metadata"} | keys


def nested(fields: Fields) -> dict[str, JsonValue]:
    """Return the change that requests these fields: the reverse of `flat`."""
    prefix = "metadata."
    keys: dict[str, JsonValue] = {
        name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)
    }
    rest = {name: value for name, value in fields.items() if not name.startswith(prefix)}
    return {**rest, "metadata": keys} if keys else rest
