"""What a write did: the object before and after it, and the note that is kept of it.

Tests read the notes to show that nothing but what was meant was touched, so they say only what really changed.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sandbox.stripe.errors import Json

_BY_AUTUMN_ITSELF = "stripe-node-retry-"
_BY_A_STEP = "autumn:"


class Change(NamedTuple):
    """An object before and after a write; before a create, it is the blank object."""

    before: Json
    after: Json

    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The fields with another value than before, as (before, after); each metadata key is a field of its own."""
        if self.after.get("deleted"):
            # All else is gone with it; that goes without saying.
            return {"deleted": (None, True)}
        before, after = _flat(self.before), _flat(self.after)
        names = {**before, **after}
        return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


@dataclass(frozen=True)
class Write:
    """A request that was executed and may have changed something; never a refusal, and never a replay."""

    at: float
    """When it was executed, in seconds since the epoch, by the simulator's clock."""
    request_id: str
    endpoint: str
    """The endpoint's name, as customers.update."""
    object_id: str
    idempotency_key: str | None
    changed: dict[str, tuple[Any, Any]]
    """The fields that changed, as (before, after), None where there was or is none; metadata.autumn_id is a field."""

    @property
    def why(self) -> str:
        """Who or what wrote, by the key: a step's name out of `autumn:<step>:<digest>`, else one of two phrases.

        Autumn makes its customers under keys of the same form: those are the step `customer`.
        """
        key = self.idempotency_key or ""
        if key.startswith(_BY_AUTUMN_ITSELF):
            return "Autumn itself"
        return key.split(":")[1] if key.startswith(_BY_A_STEP) else "somebody else"


def _flat(item: Json) -> Json:
    fields = {name: value for name, value in item.items() if name != "metadata"}
    return fields | {f"metadata.{key}": value for key, value in item["metadata"].items()}
