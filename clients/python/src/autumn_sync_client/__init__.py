"""Send events about customers to autumn-stripe-sync, and read their outcomes, over Redis or over HTTP."""

from autumn_sync_client.client import AsyncClient, Client
from autumn_sync_client.errors import (
    ClientError,
    InvalidEvents,
    InvalidField,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from autumn_sync_client.events import CustomerUpdate, EventError, new_update
from autumn_sync_client.outcomes import Outcome
from autumn_sync_client.steps import Update

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "CustomerUpdate",
    "EventError",
    "InvalidEvents",
    "InvalidField",
    "Outcome",
    "RateLimited",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Update",
    "new_update",
]
