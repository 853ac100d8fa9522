"""The event that apps send. Its code is in `autumn_sync_client.events`, so that apps can have it without the worker."""

from autumn_sync_client.events import (
    CHANGES_MAX_BYTES,
    CUSTOMER_ID_MAX,
    EVENT_ID_MAX,
    EVENT_ID_MAX_BYTES,
    STRIPE_ID,
    Changes,
    CustomerUpdate,
    EventError,
    Fault,
    check_size,
    new_update,
    parse_changes,
    parse_json,
    read_entry,
    unknown_fields,
    valid_traceparent,
)
from autumn_sync_client.values import UNFIT_TEXT

__all__ = [
    "CHANGES_MAX_BYTES",
    "CUSTOMER_ID_MAX",
    "EVENT_ID_MAX",
    "EVENT_ID_MAX_BYTES",
    "STRIPE_ID",
    "UNFIT_TEXT",
    "Changes",
    "CustomerUpdate",
    "EventError",
    "Fault",
    "check_size",
    "new_update",
    "parse_changes",
    "parse_json",
    "read_entry",
    "unknown_fields",
    "valid_traceparent",
]
