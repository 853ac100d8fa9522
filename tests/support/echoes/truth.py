"""The right state of each customer, derived from all writes and their times, not from the code under test.

A value counts when its writer succeeded: an event when Autumn applied its update, another app likewise, and a person at
the edit in Stripe. The last value is right, on both sides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PROFILE: Final = ("name", "email")
FLAG: Final = "send_email_receipts"
COPIED: Final = "metadata.plan"
"""A metadata key that is copied to Stripe."""
NOT_COPIED: Final = "metadata.seat"
KEYS: Final = (COPIED, NOT_COPIED)
MIRROR: Final = "autumn_send_email_receipts"

Json = dict[str, Any]


@dataclass
class Truth:
    """One customer: the right value of each field, and the allowed values if Autumn has none.

    `own` has the values of each Stripe customer itself, by its id: those that it showed when it was linked, those that
    a person left there, and those that remained when another app cleared the field in Autumn alone.
    """

    value: Json
    own: dict[str, Json]
    fills: dict[str, set[Any]] = field(default_factory=dict)
    """The values that Autumn may have copied from Stripe into a field that has none."""
    used: dict[str, list[Any]] = field(default_factory=dict)
    """Every value that a writer ever gave to a field on purpose, in order."""
    cleared: set[str] = field(default_factory=set)
    """The fields that an event cleared and nobody has written since. They may be empty on both sides."""
    link: str | None = None
    """The Stripe customer that Autumn is linked to."""

    def __post_init__(self) -> None:
        """Begin with the planted values."""
        for name, value in self.value.items():
            self.used[name] = [value]
        self.link = self.value["stripe_id"]
        self._may_fill()

    def note_update(self, written: Mapping[str, Any], *, by_event: bool, link: str | None, shown: Json | None) -> None:
        """Note fields that Autumn applied for their writer. `link` and `shown` are the Stripe customer's afterwards."""
        if link != self.link and link is not None:
            self.own[link] = dict(shown or {})
        self.link = link
        for name, value in written.items():
            self._count(name, value)
            if value is None and by_event:
                self.cleared.add(name)
            if value is None and name != "stripe_id" and link is not None and shown is not None:
                # An event clears both sides; another app clears Autumn alone.
                self.own[link][name] = None if by_event else shown[name]
        self._may_fill()

    def note_edit(self, stripe_id: str, name: str, value: str | None, *, is_linked: bool) -> None:
        """Note a person's edit of a Stripe customer. Autumn refills an emptied field of a linked one."""
        self.own[stripe_id][name] = value
        if is_linked and value is not None:
            self._count(name, value)

    def note_copies(self, before: Json, after: Json, *, relinks: bool) -> None:
        """Note what a webhook copied into a field that an event has cleared, while a change of the link is pending.

        The copy may stay, even if Stripe still has another value: no earlier value is the right one.
        """
        for name in self.cleared.intersection(PROFILE):
            is_relinked = relinks or self.own[str(self.link)].get(name) is not None
            if is_relinked and before[name] is None and after[name] is not None:
                self.fills[name].add(after[name])

    def is_right(self, name: str, shown: Any, waiting: Iterable[Any]) -> bool:
        """Whether Stripe shows a value that may reach Autumn: none, the right one, or one that an event will write."""
        allowed = [None, self.value[name], *waiting]
        return shown in allowed or (self.value[name] is None and shown in self.fills.get(name, ()))

    def judge(self, row: Json, stripe: Json) -> None:
        """Raise AssertionError for a field of either side that is not right."""
        link = row["stripe_id"]
        assert self.value["stripe_id"] in {None, link}, "linked to another Stripe customer than the last one requested"
        for name in PROFILE:
            pair, value = (row[name], stripe[name]), self.value[name]
            allowed = {(value, value)} if value is not None else self._pairs(name, link)
            assert pair in allowed, f"{name}: {pair} in Autumn and Stripe, allowed is {allowed}"
        assert row[FLAG] == self.value[FLAG], FLAG
        assert stripe["metadata"].get(MIRROR) == str(self.value[FLAG]).lower(), MIRROR
        metadata = {name: self.value[name] for name in KEYS if self.value[name] is not None}
        assert {f"metadata.{key}": value for key, value in row["metadata"].items()} == metadata
        plan = self.own[link].get(COPIED) if self.value[COPIED] is None else self.value[COPIED]
        assert stripe["metadata"].get("plan") == plan, COPIED
        assert stripe["metadata"].keys() <= {"autumn_id", MIRROR, "plan"}

    def _pairs(self, name: str, link: str) -> set[tuple[Any, Any]]:
        empty = {(None, None)} if name in self.cleared else set()
        return {(None, self.own[link].get(name)), *empty, *((each, each) for each in self.fills.get(name, ()))}

    def _count(self, name: str, value: Any) -> None:
        self.value[name] = value
        self.fills[name] = set()
        self.cleared.discard(name)
        self.used[name].append(value)

    def _may_fill(self) -> None:
        """Note the values that Autumn may copy from the linked customer into its empty fields."""
        for name in PROFILE if self.link is not None else ():
            held = self.own[str(self.link)].get(name)
            if self.value[name] is None and held is not None:
                self.fills.setdefault(name, set()).add(held)


def flat(changes: Mapping[str, Any]) -> Json:
    """Return the fields of a change or of an update, with each metadata key as one field."""
    keys = {f"metadata.{key}": value for key, value in (changes.get("metadata") or {}).items()}
    return {name: value for name, value in changes.items() if name not in {"metadata", "customer_id"}} | keys


def nested(fields: Mapping[str, Any]) -> Json:
    """Return the change that writes these fields; the reverse of `flat`."""
    keys = {name.removeprefix("metadata."): value for name, value in fields.items() if name.startswith("metadata.")}
    rest = {name: value for name, value in fields.items() if not name.startswith("metadata.")}
    return {**rest, "metadata": keys} if keys else rest


def shown_by(stripe: Json) -> Json:
    """Return a Stripe customer's values, by the names of Autumn's fields."""
    return {name: stripe[name] for name in PROFILE} | {
        f"metadata.{key}": stripe["metadata"].get(key) for key in ("plan", "seat")
    }
