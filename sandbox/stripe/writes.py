"""A write to Stripe: the object before and after it, and its record.

Tests read the records to prove that nothing else changed, so a record has only fields with a new value.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sandbox.stripe.errors import Json

_BY_AUTUMN_ITSELF = "stripe-node-retry-"
_BY_A_STEP = "autumn:customer-sync:"
_BY_A_CREATE = "autumn:"


class Change(NamedTuple):
    """An object before and after a write; before a create, it is the blank object."""

    before: Json
    after: Json

    def fields(self) -> dict[str, tuple[Any, Any]]:
        """Return the fields with a new value, as (before, after); each metadata key is one field."""
        if self.after.get("deleted"):
            # The other fields are gone as well.
            return {"deleted": (None, True)}
        before, after = _flat(self.before), _flat(self.after)
        names = {**before, **after}
        return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


@dataclass(frozen=True)
class Write:
    """An executed request that writes. Refused and replayed requests make no record."""

    at: float
    """The time of the execution, in seconds since the epoch by the simulator's clock."""
    request_id: str
    endpoint: str
    """The endpoint's name, as customers.update."""
    object_id: str
    idempotency_key: str | None
    changed: dict[str, tuple[Any, Any]]
    """The changed fields, as (before, after). None stands for an absent value. A metadata key is `metadata.KEY`."""

    @property
    def why(self) -> str:
        """Return the writer: the step of a key of a sync, otherwise "Autumn itself" or "somebody else".

        The key of a sync is `autumn:customer-sync:<step>:<digest>`. Autumn creates its customers with keys of the form
        `autumn:customer:<digest>`; their step is `customer`.
        """
        key = self.idempotency_key or ""
        if key.startswith(_BY_AUTUMN_ITSELF):
            return "Autumn itself"
        for beginning in (_BY_A_STEP, _BY_A_CREATE):
            if key.startswith(beginning):
                return key.removeprefix(beginning).split(":")[0]
        return "somebody else"


def _flat(item: Json) -> Json:
    fields = {name: value for name, value in item.items() if name != "metadata"}
    return fields | {f"metadata.{key}": value for key, value in item["metadata"].items()}
