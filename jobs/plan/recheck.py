"""The rules of a recheck: when it is due, and which values something has reverted since they were written.

A sync remembers the values it wrote, so that a later one recognises an older value that came back. Stripe announces
writes with the whole customer, late and in any order, and Autumn copies the name and e-mail of each announcement (an
echo). An update whose answer was lost may be applied late, and a replica may answer with an older
state. In all three cases the value that is found is one that this worker wrote or saw before its last write. Only
such a value is ever reverted: anything else is somebody's later change and stays.

What is remembered is bounded, expires after minutes, and holds digests instead of values. The one exception are values
that nobody else may have: those requested while an update of unknown fate may still overwrite both sides, and those of
Autumn that an echo may overwrite before they are in Stripe. Purely computational, no I/O here.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from pydantic import JsonValue

from jobs.plan.customer import AutumnCustomer, StripeCustomer
from jobs.plan.profile import PROFILE, digest_of

KNOWN_SECONDS: Final = 600.0
"""How long an older name or e-mail is recognised. Stripe's webhooks take seconds, after a failure minutes."""
STALE_SECONDS: Final = 10.0
"""How far a replica of Autumn's database may lag behind: so long a read gives way to the answer of an update."""
UNACCEPTED_SECONDS: Final = 8 * 86_400.0
"""How long it is remembered that Stripe holds a value that Autumn has not accepted: longer than a change is retried."""
OLDER_KEPT: Final = 32
"""Older values of a field that are kept: more than there are syncs of a customer while a webhook is on its way."""
FIELDS_KEPT: Final = 64
NO_VALUE: Final = "none"
"""In place of a digest: there was no value, and nobody has cleared it on purpose."""
KEPT_SECONDS: Final = 540.0
"""How long a value is kept after it was written, or could last be reverted: until the next try or recheck."""
RESTORE_AFTER_MS: Final = 1_000

Fields = Mapping[str, JsonValue]
"""Values by field: `name`, `email`, `stripe_id`, `send_email_receipts`, `metadata.KEY`."""


@dataclass(frozen=True)
class Recheck:
    """The recheck that waits after a sync: its reason, and when a new one is due, in milliseconds from now.

    The reason is `whole` if a write may be applied late, `echo` if only an older name or e-mail may come back, and
    empty if none waits. `after_ms` is 0 if no new one is due.
    """

    kind: str
    after_ms: int = 0


def next_recheck(
    waiting: str, *, after_seconds: float, has_unaccepted: bool, may_be_late: bool, may_echo: bool
) -> Recheck:
    """Return the recheck that waits after a sync. One of the kind that was `waiting` is never made less.

    It is due at once if Stripe holds a value that Autumn has not accepted. Otherwise it comes after `after_seconds`,
    and never if that is 0: for a write that `may_be_late`, or for a new name or e-mail, which `may_echo`.
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
    """What is known of one field: digests of the value written last, in each form it was seen in, and of older ones.

    `at` is when it was written, in seconds since the epoch. `overwritten` are values of somebody else that Stripe
    showed and a sync wrote over: they are newer than the last change of the field, and older than the next one.
    `unaccepted` is the digest of a value that was written to Stripe and not yet accepted by Autumn, empty where there
    is none. `kept` holds the value itself, in a tuple of one, while it may be lost on both sides.
    """

    at: float
    newest: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    unaccepted: str = ""
    kept: tuple[JsonValue, ...] = ()


@dataclass
class Memory:
    """What is remembered of one customer.

    `in_doubt_until` is when no update of unknown fate can be applied any more, in seconds since the epoch. `stripe_id`
    is the Stripe customer that names and e-mails were written to, `wanted_id` one that Autumn was asked to link.
    """

    customer_id: str
    now: float
    fields: dict[str, Known] = field(default_factory=dict)
    in_doubt_until: float = 0.0
    stripe_id: str = ""
    wanted_id: str = ""

    @classmethod
    def read(cls, customer_id: str, kept: Mapping[str, Any], now: float) -> "Memory":
        """The memory as the last sync left it, less what has expired; `now` in seconds since the epoch."""
        in_doubt_until = float(kept.get("in_doubt_until", 0.0))
        fields = {
            name: Known(
                raw["at"],
                tuple(raw["newest"]),
                tuple(raw["older"]),
                tuple(raw.get("overwritten", ())),
                raw["unaccepted"],
                tuple(raw["kept"]) if now < max(in_doubt_until, raw["at"]) + KEPT_SECONDS else (),
            )
            for name, raw in dict(kept.get("fields", {})).items()
        }
        memory = cls(customer_id, now, fields, in_doubt_until, kept.get("stripe_id", ""), kept.get("wanted_id", ""))
        memory._expire()
        return memory

    def as_dict(self) -> dict[str, Any]:
        """The form that is stored."""
        self._expire()
        # A name that may have to be reapplied is worth more than any number of metadata keys.
        by_worth = sorted(self.fields.items(), key=lambda item: (item[0] in PROFILE, item[1].at), reverse=True)
        return {
            "in_doubt_until": self.in_doubt_until,
            "stripe_id": self.stripe_id,
            "wanted_id": self.wanted_id,
            "fields": {name: asdict(known) for name, known in by_worth[:FIELDS_KEPT]},
        }

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.fields and not self.is_in_doubt

    @property
    def seconds(self) -> int:
        """How long it has to be stored."""
        return int(UNACCEPTED_SECONDS if self.unaccepted_fields else KNOWN_SECONDS)

    @property
    def is_in_doubt(self) -> bool:
        """Whether an update of unknown fate may still be applied."""
        return self.now < self.in_doubt_until

    @property
    def is_unlinked(self) -> bool:
        """Whether the last change of the link was to have none."""
        known = self.fields.get("stripe_id")
        return known is not None and known.newest == (self._digest("stripe_id", None),)

    @property
    def unaccepted_fields(self) -> frozenset[str]:
        """The fields that were written to Stripe and not accepted by Autumn."""
        return frozenset(name for name, known in self.fields.items() if known.unaccepted)

    def overwrite(self, autumn: Fields, stripe: Fields) -> bool:
        """Note the names and e-mails of somebody else in Stripe, before they are written over; whether one is new.

        Their webhook may be on its way to Autumn: it is right there, unless the field has been changed since.
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
        self, requested: Fields, autumn: Fields, stripe: Fields, spoken: Sequence[Fields] = (), *, is_new: bool = True
    ) -> None:
        """Note what is about to be written, and what is older then: what Autumn shows, and what was written before.

        An earlier try may have sent some of the changes that the request was merged from (`spoken`). They come last: a
        batch of many must not push out the values that were really written. A value that `stripe` shows already, or
        that is only reapplied and not `is_new`, is nothing that Autumn has yet to accept.
        """
        for name, value in requested.items():
            known = self.fields.get(name, Known(self.now))
            sent = [known.unaccepted] if known.unaccepted else []
            certain = [*self._digests(name, [autumn]), *sent, *known.newest, *known.older]
            older = [*certain, *self._digests(name, reversed(spoken))]
            written = self._digest(name, value)
            is_there = self._digest(name, stripe.get(name)) == written != known.unaccepted
            is_open = name in PROFILE and name in stripe and is_new and not is_there
            unaccepted = written if is_open else "" if is_new else known.unaccepted
            self._keep(name, replace(known, at=self.now, older=_others(older, [written]), unaccepted=unaccepted))

    def expect_echo(self, autumn: AutumnCustomer, stripe: StripeCustomer, *, besides: Set[str]) -> bool:
        """Note that an echo may bring the name and e-mail that Stripe shows now, at any time.

        Fields that the update names (`besides`) are left out. Return whether Autumn may lose a value by it that Stripe
        does not have: that is kept then. A field that Autumn has no value for may be filled, which erases nothing.
        """
        is_lost = False
        for name in (each for each in PROFILE if each not in besides):
            ours, theirs, known = getattr(autumn, name), getattr(stripe, name), self.fields.get(name, Known(self.now))
            right, shown = self._digest(name, ours), self._digest(name, theirs)
            is_cleared = not ours and right in known.newest
            if is_cleared and known.kept:
                # Somebody set the value that Stripe shows later: it is not cleared again.
                continue
            right = right if ours or is_cleared else NO_VALUE
            kept = (ours,) if ours and theirs and shown != right else known.kept
            is_lost |= kept != known.kept
            older = _others([*([shown] if theirs else []), *known.newest, *known.older], [right])
            self._keep(name, replace(known, at=self.now, newest=(right,), older=older, kept=kept))
        return is_lost

    def accept(self, requested: Fields, forms: Fields) -> None:
        """Note that Autumn accepted what was requested; `forms` are Stripe's answers, perhaps in another form."""
        for name, value in requested.items():
            known = self.fields.get(name, Known(self.now))
            newest = list(dict.fromkeys([self._digest(name, value), *self._digests(name, [forms])]))
            kept = (value,) if self.is_in_doubt else ()
            older = _others([*known.overwritten, *known.newest, *known.older], newest)
            self._keep(name, Known(self.now, tuple(newest), older, kept=kept))

    def note_link(self, stripe_id: str | None) -> None:
        """Note the Stripe customer that Autumn shows as linked after an update."""
        self.stripe_id, self.wanted_id = stripe_id or "", ""

    def forget_unaccepted(self) -> None:
        """Note that what Autumn has not accepted cannot be taken back from Stripe."""
        self.fields = {name: replace(known, unaccepted="") for name, known in self.fields.items()}

    def note_agreement(self, *, besides: Set[str] = frozenset()) -> None:
        """Note that both sides agree but for some fields: nothing that Autumn has not accepted is left in Stripe.

        What was kept for the end of a doubt has served its purpose.
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
        """Return the fields that Autumn shows with an older value, and the right values; none of `besides`."""
        found = self._reverted(shown_by(autumn)) | self._echoes(autumn, stripe)
        return {name: value for name, value in found.items() if name not in besides}

    def _echoes(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> dict[str, JsonValue]:
        """The names and e-mails to reapply in Autumn, because it shows an older value.

        The right value is what Stripe shows: the one written last, or one that somebody wrote there since. Where both
        sides show the same value, somebody chose it.
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
            # An empty value of Stripe's is right only where the last change cleared it: nothing else is ever erased.
            if shown in {*known.older, *known.newest} and (theirs or right in known.newest):
                found[name] = theirs
        return found

    def _reverted(self, autumn: Fields) -> dict[str, JsonValue]:
        """The fields that an update of unknown fate has put back to an older value, with what was requested last."""
        found = {}
        for name, known in self.fields.items():
            shown = self._digest(name, autumn.get(name))
            if known.kept and shown in known.older and shown not in known.newest:
                found[name] = known.kept[0]
        return found

    def is_stale(self, autumn: Fields) -> bool:
        """Whether a read is older than what an update has just answered, as of a replica that lags."""
        for name, known in self.fields.items():
            is_recent = name in autumn and known.newest and self.now - known.at < STALE_SECONDS
            shown = self._digest(name, autumn.get(name))
            if name not in PROFILE and is_recent and shown in known.older and shown not in known.newest:
                return True
        return False

    def never_accepted(self, autumn: AutumnCustomer, stripe: StripeCustomer) -> frozenset[str]:
        """Return the names and e-mails of Stripe that Autumn has neither accepted nor a value of its own for."""
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


def shown_by(autumn: AutumnCustomer) -> dict[str, JsonValue]:
    """What Autumn shows of a customer, by field."""
    fields: dict[str, JsonValue] = {
        "name": autumn.name,
        "email": autumn.email,
        "stripe_id": autumn.stripe_id,
        "send_email_receipts": autumn.send_email_receipts,
        "fingerprint": autumn.fingerprint,
    }
    return fields | {f"metadata.{key}": value for key, value in autumn.metadata.items()}


def flat(values: Fields) -> dict[str, JsonValue]:
    """A change or a customer of Autumn by field, each metadata key as a field of its own."""
    metadata = values.get("metadata")
    keys = {f"metadata.{key}": value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    return {name: value for name, value in values.items() if name != "metadata"} | keys


def nested(fields: Fields) -> dict[str, JsonValue]:
    """The change that requests these fields; the reverse of `flat`."""
    prefix = "metadata."
    keys: dict[str, JsonValue] = {
        name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)
    }
    rest = {name: value for name, value in fields.items() if not name.startswith(prefix)}
    return {**rest, "metadata": keys} if keys else rest


def _others(digests: Iterable[str], than: Iterable[str]) -> tuple[str, ...]:
    """The digests that are none of `than`, each once, as many as are kept."""
    return tuple(dict.fromkeys(each for each in digests if each not in set(than)))[:OLDER_KEPT]
