"""The events of Stripe, reduced to the parts that are read here. No HTTP, no decision.

Each part is read by itself. A part of an unknown form keeps its default and is named by `wrong`, so one strange event
never stops a page. Only a page that is no list of events is an unexpected response. The source is Stripe's API
reference, with the object `event`.
"""

from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from jobs.stripe.models import unexpected

OUR_KEY: Final = "autumn:customer-sync:"
"""The beginning of the idempotency key of each of our writes.

Autumn takes every customer.updated whose key does not begin with `autumn:` for an edit by hand, and copies it back. The
rest tells our writes from those of Autumn, whose keys also begin with `autumn:`.
"""
CREATED_MAX: Final = 10**11
"""The latest time of an event, in seconds since the epoch: the year 5138."""
_ALWAYS_SENT: Final = ("id", "type", "created", "livemode", "data")


class EventRequest(BaseModel):
    """The request that caused an event. `id` is None if Stripe did it by itself."""

    model_config = ConfigDict(frozen=True)

    id: str | None = None
    idempotency_key: str | None = None


_UNKNOWN_REQUEST: Final = EventRequest(id="unknown")
"""A request that says nothing of itself, as `request` was a plain id in API versions before 2017-05-25."""


class EventData(BaseModel):
    """The object after the event, and the old values of what changed. Both have the API version of the event."""

    model_config = ConfigDict(frozen=True)

    object: dict[str, Any]
    previous_attributes: dict[str, Any] | None = None
    """Of the metadata, only the keys that changed; null for a new one."""


class EventAnswer(BaseModel):
    """An event. A part that is missing or has an unknown form has its default."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_]{1,100}\z")] = ""
    type: Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9_.]{1,100}\z")] = ""
    created: Annotated[StrictInt, Field(gt=0, le=CREATED_MAX)] = 0
    """In seconds since the epoch."""
    livemode: StrictBool | None = None
    request: EventRequest | None = Field(None, repr=False)
    data: EventData | None = Field(None, repr=False)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The parts that Stripe always sends, and that this event lacks or has in an unknown form."""
        return tuple(name for name in _ALWAYS_SENT if getattr(self, name) == type(self).model_fields[name].default)

    @model_validator(mode="before")
    @classmethod
    def _of_anything(cls, values: object) -> object:
        return values if isinstance(values, dict) else {}

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: object, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        try:
            return read(value)
        except ValidationError:
            name = info.field_name or ""
            return _UNKNOWN_REQUEST if name == "request" else cls.model_fields[name].default


class EventAnswers(BaseModel):
    """A page of the list of events, newest first."""

    data: list[EventAnswer]
    has_more: bool

    def events(self, after: str) -> tuple[list[EventAnswer], str | None]:
        """Return the events after the id `after`, each once, and the next `after`, None at the end.

        The list grows while it is read, so a page may repeat an event. Raises TryAgain if the list does not go on.
        """
        found = {each.id: each for each in self.data if not after or each.id != after}
        ids = [event_id for event_id in found if event_id]
        if self.has_more and not ids:
            raise unexpected("the list does not go on: a page of events has nothing new but is not the last one")
        return list(found.values()), ids[-1] if self.has_more else None
