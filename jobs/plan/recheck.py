"""The rules of a recheck: when it is due, and which values something has reverted since they were written.

A sync remembers the values it wrote, so that a later sync recognises an older value that came back. There are three
causes:

- An echo. Stripe sends webhooks with the whole customer, late and in any order. Autumn copies their name and e-mail.
- An update of unknown fate. Its answer was lost, and it is applied late.
- A stale read. A replica answers with an older state.

In each case the older value is one that a sync wrote or saw before its last write. Only such a value is replaced. Any
other value is a later change by another writer and stays.

The memory is bounded, expires, and holds digests instead of values. It holds a value itself only if that may be lost on
both sides. That is a requested value that an update of unknown fate may overwrite, or a value of Autumn that an echo
may overwrite before it is in Stripe. No I/O in this module.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import JsonValue

from jobs.plan.customer import AutumnCustomer, StripeCustomer, shown_by
from jobs.plan.merge import Digests, Fields
from jobs.plan.profile import PROFILE, digest_of

KNOWN_SECONDS: Final = 600.0
"""The time in which an older value is recognised. Stripe's webhooks take seconds, or minutes after a failure."""
WRITE_SECONDS: Final = 30.0
"""The longest time from the beginning of a sync to its first write. Stripe still shows a value that came later."""
LISTED_SECONDS: Final = 30.0
"""The longest time from an event of Stripe until the list has it."""
STALE_SECONDS: Final = 10.0
"""The longest lag of a replica of Autumn's database. In this time, an update's answer outweighs a read."""
UNACCEPTED_SECONDS: Final = 8 * 86_400.0
"""The time to remember that Stripe holds a value that Autumn has not accepted: longer than events are retried."""
OLDER_KEPT: Final = 32
"""Older values that are kept of a field: more than the syncs of a customer during the delay of a webhook."""
FIELDS_KEPT: Final = 64
NO_VALUE: Final = "none"
"""Stands for a digest: there was no value, and nobody cleared it on purpose."""
KEPT_SECONDS: Final = 540.0
"""The time a value is kept after it was written or could last be reverted: until the next try or recheck."""
RESTORE_AFTER_MS: Final = 1_000

NEVER_SHOWN: Final = frozenset({"currency", "config", "billing_controls", "billing_details"})
"""Fields that a sync does not read back, so it cannot see whether something reverted them."""


@dataclass(frozen=True)
class Recheck:
    """The recheck that is needed after a sync: its reason (`kind`), and when it is due.

    `kind` is `whole` if a write may be applied late, and `echo` if only an older name or e-mail may come back. It is
    empty if no recheck is needed. `after_ms` is in milliseconds from now; 0 schedules no new one.
    """

    kind: str
    after_ms: int = 0


def next_recheck(
    waiting: str, *, after_seconds: float, has_unaccepted: bool, may_be_late: bool, may_echo: bool
) -> Recheck:
    """Return the recheck that is needed after a sync. `waiting` is the kind that is scheduled; it is never reduced.

    It is due at once if Stripe holds a value that Autumn has not accepted. Otherwise it is due after
    `after_seconds` (0: never), if a write may be applied late or a new name or e-mail may be overwritten by an echo.
    """
    after_ms = int(after_seconds * 1000)
    if has_unaccepted:
        return Recheck("whole", RESTORE_AFTER_MS)
    if after_ms and may_be_late:
        return Recheck("whole", after_ms)
    if after_ms and may_echo:
        return Recheck(waiting or "echo", after_ms)
    return Recheck(waiting)


@dataclass(frozen=True)
class Known:
    """The memory of one field.

    `newest` holds digests of the last written value in each of its forms, `older` those of older values. `at` is when
    it was written, in seconds since the epoch. `overwritten` holds digests of another writer's values in Stripe that a
    sync overwrote. They are newer than the last change of the field, and older than the next one.
    `unaccepted` is the digest of a value that was written to Stripe but not accepted by Autumn yet, empty if there is
    none. `kept` holds the value itself, in a tuple of one, while it may be lost on both sides. `blind_at` is when
    a value was last written to Stripe without a fetch, in seconds since the epoch; 0 for never.
    """

    at: float
    newest: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    unaccepted: str = ""
    kept: tuple[JsonValue, ...] = ()
    blind_at: float = 0.0


@dataclass
class Memory:
    """The memory of one customer.

    `in_doubt_until` is when an update of unknown fate can no longer be applied, in seconds since the epoch. `stripe_id`
    is the Stripe customer that names and e-mails were written to. `wanted_id` is the one of the requested link.
    """

    customer_id: str
    now: float
    fields: dict[str, Known] = field(default_factory=dict)
    in_doubt_until: float = 0.0
    stripe_id: str = ""
    wanted_id: str = ""

    @classmethod
    def read(cls, customer_id: str, kept: Mapping[str, Any], now: float) -> "Memory":
        """Return the stored memory without expired parts. `now` is in seconds since the epoch."""
        in_doubt_until = float(kept.get("in_doubt_until", 0.0))
        fields = {
            name: Known(
                raw["at"],
                tuple(raw["newest"]),
                tuple(raw["older"]),
                tuple(raw.get("overwritten", ())),
                raw["unaccepted"],
                tuple(raw["kept"]) if now < max(in_doubt_until, raw["at"]) + KEPT_SECONDS else (),
                raw.get("blind_at", 0.0),
            )
            for name, raw in dict(kept.get("fields", {})).items()
        }
        memory = cls(customer_id, now, fields, in_doubt_until, kept.get("stripe_id", ""), kept.get("wanted_id", ""))
        memory._expire()
        return memory

    def as_dict(self) -> dict[str, Any]:
        """Return the form that is stored."""
        self._expire()
        # If there are too many fields, keep a name or e-mail before any metadata key.
        by_worth = sorted(self.fields.items(), key=lambda item: (item[0] in PROFILE, item[1].at), reverse=True)
        return {
            "in_doubt_until": self.in_doubt_until,
            "stripe_id": self.stripe_id,
            "wanted_id": self.wanted_id,
            # Not `asdict`, which copies deeply and takes a tenth of a sync.
            "fields": {name: vars(known) for name, known in by_worth[:FIELDS_KEPT]},
        }

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.fields and not self.is_in_doubt

    @property
    def seconds(self) -> int:
        """The time to store the memory, in seconds."""
        return int(UNACCEPTED_SECONDS if self.unaccepted_fields else KNOWN_SECONDS)

    @property
    def is_in_doubt(self) -> bool:
        """Whether an update of unknown fate may still be applied."""
        return self.now < self.in_doubt_until

    @property
    def is_unlinked(self) -> bool:
        """Whether the last change of the link removed it."""
        known = self.fields.get("stripe_id")
        return known is not None and known.newest == (self._digest("stripe_id", None),)

    @property
    def unaccepted_fields(self) -> frozenset[str]:
        """The fields that were written to Stripe and not accepted by Autumn."""
        return frozenset(name for name, known in self.fields.items() if known.unaccepted)

    def overwrite(self, autumn: Fields, stripe: Fields) -> bool:
        """Note names and e-mails of another writer in Stripe before they are overwritten. Return whether one is new.

        Their webhook may still reach Autumn. Its values are right there, unless the field was changed since.
        """
        is_new = False
        for name in PROFILE:
            known, shown = self.fields.get(name, Known(self.now)), self._digest(name, stripe.get(name))
            ours = {*known.newest, *known.older, known.unaccepted, self._digest(name, autumn.get(name))}
            if stripe.get(name) and shown not in ours:
                is_new |= shown not in known.overwritten
                self._keep(name, replace(known, at=self.now, overwritten=_others([shown, *known.overwritten], ours)))
        return is_new

    def expect(
        self,
        requested: Fields,
        autumn: Digests,
        stripe: Digests,
        parts: Sequence[Fields] = (),
        *,
        is_new: bool = True,
        is_blind: bool = False,
    ) -> None:
        """Note the values to write. The value that Autumn shows and those that were written before become older ones.

        An earlier try may have sent some of the changes that the request was merged from (`parts`). They come last, so
        that a large batch does not push out values that were really written. A value is not unaccepted if `stripe`
        shows it already, or if it is only reapplied (not `is_new`). `is_blind`: nothing was fetched, so another writer
        may have changed Stripe since.
        """
        for name, value in _shown_again(requested):
            known = self.fields.get(name, Known(self.now))
            sent = [known.unaccepted] if known.unaccepted else []
            certain = [*([autumn[name]] if name in autumn else []), *sent, *known.newest, *known.older]
            written = self._digest(name, value)
            older = _others([*certain, *self._digests(name, reversed(parts))], [written])
            is_there = stripe.get(name) == written != known.unaccepted
            is_open = name in PROFILE and name in stripe and is_new and not is_there
            unaccepted = written if is_open else "" if is_new else known.unaccepted
            blind_at = self.now if is_blind else known.blind_at
            self._keep(name, replace(known, at=self.now, older=older, unaccepted=unaccepted, blind_at=blind_at))

    def expect_echo(self, autumn: AutumnCustomer, stripe: StripeCustomer, *, besides: Set[str]) -> bool:
        """Note that an echo may bring the name and e-mail that Stripe shows now, at any time.

        `besides` are the fields of the update; they are left out. Return whether the echo may overwrite a value of
        Autumn that Stripe does not have: that value is kept. Filling an empty field of Autumn erases nothing.
        """
        is_lost = False
        for name in (each for each in PROFILE if each not in besides):
            ours, theirs, known = getattr(autumn, name), getattr(stripe, name), self.fields.get(name, Known(self.now))
            right, shown = self._digest(name, ours), self._digest(name, theirs)
            is_cleared = not ours and right in known.newest
            if is_cleared and known.kept:
                # Somebody set the value in Stripe after it was cleared, so do not clear it again.
                continue
            right = right if ours or is_cleared else NO_VALUE
            kept = (ours,) if ours and theirs and shown != right else known.kept
            is_lost |= kept != known.kept
            older = _others([*([shown] if theirs else []), *known.newest, *known.older], [right])
            self._keep(name, replace(known, at=self.now, newest=(right,), older=older, kept=kept))
        return is_lost

    def expect_echo_of(self, agreed: Digests, *, besides: Set[str]) -> None:
        """Note the same for values that both sides have, by their digests: none can be lost."""
        for name in (each for each in PROFILE if each not in besides):
            known, empty = self.fields.get(name, Known(self.now)), self._digest(name, None)
            right = NO_VALUE if agreed[name] == empty and empty not in known.newest else agreed[name]
            older = _others([*known.newest, *known.older], [right])
            self._keep(name, replace(known, at=self.now, newest=(right,), older=older))

    def accept(self, requested: Fields, forms: Fields) -> None:
        """Note that Autumn accepted the requested values; `forms` are the values as Stripe stores them."""
        for name, value in _shown_again(requested):
            known = self.fields.get(name, Known(self.now))
            newest = list(dict.fromkeys([self._digest(name, value), *self._digests(name, [forms])]))
            kept = (value,) if self.is_in_doubt else ()
            older = _others([*known.overwritten, *known.newest, *known.older], newest)
            self._keep(name, Known(self.now, tuple(newest), older, kept=kept, blind_at=known.blind_at))

    def note_link(self, stripe_id: str | None) -> None:
        """Note the Stripe customer that Autumn shows as linked after an update."""
        self.stripe_id, self.wanted_id = stripe_id or "", ""

    def note_replaced(self, name: str, digest: str, written_at: float) -> None:
        """Note a value of another writer that a sync without a fetch replaced in Stripe, once the watch has seen it.

        `written_at` is in seconds since the epoch. A value that was written later is no older one.
        """
        known = self.fields.get(name)
        if known is None or written_at > known.blind_at + WRITE_SECONDS:
            return
        if digest not in {*known.newest, *known.overwritten}:
            self._keep(name, replace(known, older=_others([digest, *known.older], known.newest)))

    def undecided(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, seen_until: float) -> frozenset[str]:
        """Return the names and e-mails of Autumn that may be older than what a sync without a fetch wrote to Stripe.

        The value that it replaced is known when the watch has seen all events until then. `seen_until` is the position
        of the watch, in seconds since the epoch.
        """
        found = set()
        for name, known in self.fields.items() if stripe is not None else ():
            is_open = seen_until - LISTED_SECONDS < known.blind_at and self.now < known.blind_at + KNOWN_SECONDS
            ours, theirs = getattr(autumn, name, None), getattr(stripe, name, None)
            right, shown = self._digest(name, theirs), self._digest(name, ours)
            if is_open and ours and right in known.newest and shown not in {*known.newest, *known.overwritten}:
                found.add(name)
        return frozenset(found)

    def has_written(self, name: str, value: JsonValue) -> bool:
        """Return whether a sync wrote this value, or saw it before a later write."""
        known, digest = self.fields.get(name), self._digest(name, value)
        return known is not None and digest in {*known.newest, *known.older, known.unaccepted}

    def has_overwritten(self, name: str, digest: str, *, since: float = 0.0) -> bool:
        """Return whether a sync overwrote this value in Stripe, and no later change of the field was accepted.

        `since` is in seconds since the epoch. A sync may have noted the field again after it overwrote the value.
        """
        known = self.fields.get(name)
        return known is not None and digest in known.overwritten and known.at >= since

    def keep_for_longer(self, names: Set[str]) -> None:
        """Remember these fields as long as if they were written now."""
        for name in names:
            self._keep(name, replace(self.fields[name], at=self.now))

    def forget_unaccepted(self) -> None:
        """Forget the unaccepted values, because Stripe refused to restore the old ones."""
        self.fields = {name: replace(known, unaccepted="") for name, known in self.fields.items()}

    def note_agreement(self, *, besides: Set[str] = frozenset()) -> None:
        """Note that both sides agree, except the fields of `besides`: no value in Stripe is unaccepted by Autumn.

        Values that were kept for an update of unknown fate are dropped once it can no longer be applied.
        """
        self.fields = {
            name: replace(
                known,
                unaccepted=known.unaccepted if name in besides else "",
                older=_others([*([known.unaccepted] if known.unaccepted else []), *known.older], known.newest),
                kept=known.kept if self.is_in_doubt else (),
            )
            for name, known in self.fields.items()
        }

    def lost(self, autumn: AutumnCustomer, stripe: StripeCustomer | None, *, besides: Set[str]) -> dict[str, JsonValue]:
        """Return the right values of the fields that Autumn shows with an older value, without those of `besides`."""
        found = self._reverted(shown_by(autumn)) | self._echoes(autumn, stripe)
        return {name: value for name, value in found.items() if name not in besides}

    def _echoes(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> dict[str, JsonValue]:
        """Return the names and e-mails to reapply in Autumn, because it shows an older value.

        Stripe shows the right value: the one that was written last, or a newer one of another writer. If both sides
        show the same value, somebody chose it.
        """
        found: dict[str, JsonValue] = {}
        is_known = stripe is not None and stripe.id in {self.stripe_id, self.wanted_id}
        if stripe is None or not is_known or stripe.owner not in {None, autumn.id}:
            return found
        for name in PROFILE:
            known, ours, theirs = self.fields.get(name), getattr(autumn, name), getattr(stripe, name)
            if known is None or not known.newest or not ours:
                continue
            shown, right = self._digest(name, ours), self._digest(name, theirs)
            if shown == right or right in {*known.older, known.unaccepted} or {shown, right} <= {*known.newest}:
                continue
            # An empty value in Stripe is right only if the last change cleared it. No other value is ever erased.
            if shown in {*known.older, *known.newest} and (theirs or right in known.newest):
                found[name] = theirs
        return found

    def _reverted(self, autumn: Fields) -> dict[str, JsonValue]:
        """Return the fields that an update of unknown fate reverted, with the values that were requested last."""
        return {
            name: known.kept[0]
            for name, known in self.fields.items()
            if known.kept and self._digest(name, autumn.get(name)) in {*known.older} - {*known.newest}
        }

    def is_stale(self, autumn: Fields) -> bool:
        """Whether a read is older than the answer of a recent update, because a replica lags."""
        return any(
            self._digest(name, autumn[name]) in {*known.older} - {*known.newest}
            for name, known in self.fields.items()
            if name in autumn and name not in PROFILE and known.newest and self.now - known.at < STALE_SECONDS
        )

    def never_accepted(self, autumn: AutumnCustomer, stripe: StripeCustomer) -> frozenset[str]:
        """Return the fields that are empty in Autumn and have an unaccepted value in Stripe."""
        return frozenset(
            name
            for name in self.unaccepted_fields
            if self._digest(name, getattr(stripe, name)) == self.fields[name].unaccepted
            and self._digest(name, getattr(autumn, name)) != self.fields[name].unaccepted
            and not getattr(autumn, name)
        )

    def _keep(self, name: str, known: Known) -> None:
        self.fields.pop(name, None)
        self.fields[name] = known

    def _expire(self) -> None:
        self.fields = {name: known for name, known in self.fields.items() if self.now < known.at + self._lasts(known)}

    def _lasts(self, known: Known) -> float:
        return UNACCEPTED_SECONDS if known.unaccepted else KNOWN_SECONDS

    def _digests(self, name: str, sources: Iterable[Fields]) -> list[str]:
        return [self._digest(name, each[name]) for each in sources if name in each]

    def _digest(self, name: str, value: JsonValue) -> str:
        return digest_of(self.customer_id, name, value)


def _shown_again(requested: Fields) -> list[tuple[str, JsonValue]]:
    return [(name, value) for name, value in requested.items() if name not in NEVER_SHOWN]


def _others(digests: Iterable[str], than: Iterable[str]) -> tuple[str, ...]:
    """Return the digests that are not in `than`, without duplicates, `OLDER_KEPT` at most."""
    return tuple(dict.fromkeys(each for each in digests if each not in set(than)))[:OLDER_KEPT]
