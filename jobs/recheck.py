"""What a sync remembers of the values it wrote, so that a later one recognises an older value that came back.

Stripe announces writes with the whole customer, late and in any order, and Autumn copies the name and e-mail of each
announcement (an echo). An update whose answer was lost may be applied late, and a replica may answer with an older
state. In all three cases the value that is found is one that this worker wrote or saw before its last write. Only
such a value is ever reverted: anything else is somebody's later change and stays.

What is remembered is bounded, expires after minutes, and holds digests instead of values. The one exception are values
that nobody else may have: those requested while an update of unknown fate may still overwrite both sides, and those of
Autumn that an echo may overwrite before they are in Stripe. Purely computational, no I/O here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from pydantic import JsonValue

from jobs.customer import AutumnCustomer, StripeCustomer
from jobs.profile import PROFILE, normal_form

KNOWN_SECONDS: Final = 600.0
"""How long an older name or e-mail is recognised. Stripe's webhooks take seconds, after a failure minutes."""
STALE_SECONDS: Final = 10.0
"""How far a replica of Autumn's database may lag behind: so long a read gives way to the answer of an update."""
UNACCEPTED_SECONDS: Final = 86_400.0
"""How long it is remembered that Stripe holds a value that Autumn has not accepted: an outage of Autumn may be long."""
OLDER_KEPT: Final = 32
"""Older values of a field that are kept: more than there are syncs of a customer while a webhook is on its way."""
FIELDS_KEPT: Final = 64
NO_VALUE: Final = "none"
"""In place of a digest: there was no value, and nobody has cleared it on purpose."""
KEPT_SECONDS: Final = 120.0
"""How long a value is kept after it was written, or could last be reverted: until the next try or recheck."""

Fields = Mapping[str, JsonValue]
"""Values by field: `name`, `email`, `stripe_id`, `send_email_receipts`, `metadata.KEY`."""


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
    is the Stripe customer that names and e-mails were written to.
    """

    customer_id: str
    now: float
    fields: dict[str, Known] = field(default_factory=dict)
    in_doubt_until: float = 0.0
    stripe_id: str = ""

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
        memory = cls(customer_id, now, fields, in_doubt_until, kept.get("stripe_id", ""))
        memory._expire()
        return memory

    def as_dict(self) -> dict[str, Any]:
        """The form that is stored."""
        self._expire()
        newest_first = sorted(self.fields.items(), key=lambda item: item[1].at, reverse=True)
        kept = {name: asdict(known) for name, known in newest_first[:FIELDS_KEPT]}
        return {"in_doubt_until": self.in_doubt_until, "stripe_id": self.stripe_id, "fields": kept}

    @property
    def seconds(self) -> int:
        """How long it has to be stored."""
        return int(UNACCEPTED_SECONDS if self.unaccepted_fields else KNOWN_SECONDS)

    @property
    def is_in_doubt(self) -> bool:
        """Whether an update of unknown fate may still be applied."""
        return self.now < self.in_doubt_until

    @property
    def unaccepted_fields(self) -> frozenset[str]:
        """The fields that were written to Stripe and not accepted by Autumn."""
        return frozenset(name for name, known in self.fields.items() if known.unaccepted)

    def overwrite(self, autumn: Fields, stripe: Fields) -> None:
        """Note the names and e-mails of somebody else in Stripe, before they are written over.

        Their webhook may be on its way to Autumn: it is right there, unless the field has been changed since.
        """
        for name in PROFILE:
            known, shown = self.fields.get(name, Known(self.now)), self._digest(name, stripe.get(name))
            ours = {*known.newest, *known.older, known.unaccepted, self._digest(name, autumn.get(name))}
            if stripe.get(name) and shown not in ours:
                self._keep(name, replace(known, at=self.now, overwritten=_others([shown, *known.overwritten], ours)))

    def expect(self, requested: Fields, autumn: Fields, stripe: Fields, spoken: Sequence[Fields] = ()) -> None:
        """Note what is about to be written, and what is older then: what Autumn shows, and what was written before.

        An earlier try may have sent some of the changes that the request was merged from (`spoken`). They come last: a
        batch of many must not push out the values that were really written. What `stripe` shows already, as when an
        echo has reverted Autumn alone, is nothing that Autumn has yet to accept.
        """
        for name, value in requested.items():
            known = self.fields.get(name, Known(self.now))
            sent = [known.unaccepted] if known.unaccepted else []
            certain = [*self._digests(name, [autumn]), *sent, *known.newest, *known.older]
            older = [*certain, *self._digests(name, reversed(spoken))]
            written = self._digest(name, value)
            is_there = self._digest(name, stripe.get(name)) == written != known.unaccepted
            unaccepted = written if name in PROFILE and not is_there else ""
            self._keep(name, replace(known, at=self.now, older=_others(older, [written]), unaccepted=unaccepted))

    def expect_echo(self, autumn: Fields, stripe: Fields) -> bool:
        """Note that Autumn writes to Stripe while that shows `stripe`: an echo may bring its name and e-mail, at any
        time.

        Return whether Autumn may lose a value by it that Stripe does not have: that is kept then. A field that Autumn
        has no value for may be filled by it, which erases nothing.
        """
        is_lost = False
        for name in PROFILE:
            ours, theirs, known = autumn.get(name), stripe.get(name), self.fields.get(name, Known(self.now))
            right, shown = self._digest(name, ours), self._digest(name, theirs)
            if not ours and right in known.newest:
                # Cleared on purpose, so what Stripe shows is somebody's later value.
                continue
            right = right if ours else NO_VALUE
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

    def note_agreement(self) -> None:
        """Note that both sides agree: nothing that Autumn has not accepted is left in Stripe.

        What was kept for the end of a doubt has served its purpose.
        """
        self.fields = {
            name: replace(
                known,
                unaccepted="",
                older=_others(known.older, known.newest),
                kept=known.kept if self.is_in_doubt else (),
            )
            for name, known in self.fields.items()
        }

    def echoes(self, autumn: AutumnCustomer, stripe: StripeCustomer | None) -> dict[str, JsonValue]:
        """The names and e-mails to reapply in Autumn, because it shows an older value.

        The right value is what Stripe shows: the one written last, or one that somebody wrote there since. Where both
        sides show the same value, somebody chose it.
        """
        found: dict[str, JsonValue] = {}
        if stripe is None or stripe.id != self.stripe_id or stripe.owner not in {None, autumn.id}:
            return found
        for name in PROFILE:
            known, ours, theirs = self.fields.get(name), getattr(autumn, name), getattr(stripe, name)
            if known is None or not known.newest or not ours:
                continue
            shown, right = self._digest(name, ours), self._digest(name, theirs)
            if shown == right or right in {*known.older, known.unaccepted}:
                continue
            # An empty value of Stripe's is right only where the last change cleared it: nothing else is ever erased.
            if shown in {*known.older, *known.newest} and (theirs or right in known.newest):
                found[name] = theirs
        return found

    def reverted(self, autumn: Fields) -> dict[str, JsonValue]:
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
            is_recent = known.newest and self.now - known.at < STALE_SECONDS
            shown = self._digest(name, autumn.get(name))
            if name not in PROFILE and is_recent and shown in known.older and shown not in known.newest:
                return True
        return False

    def unaccepted(self, autumn: AutumnCustomer, stripe: StripeCustomer) -> frozenset[str]:
        """The names and e-mails that Stripe shows although Autumn has not accepted them."""
        return frozenset(
            name
            for name in self.unaccepted_fields
            if self._digest(name, getattr(stripe, name)) == self.fields[name].unaccepted
            and self._digest(name, getattr(autumn, name)) != self.fields[name].unaccepted
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


def digest_of(customer_id: str, name: str, value: JsonValue) -> str:
    """The digest of a field's value, the same for every form that Stripe may store it in."""
    text = normal_form(name, value) if isinstance(value, str) else json.dumps(value, sort_keys=True)
    whole = "\n".join([customer_id, name, text if value not in (None, "") else "null"])
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def shown_by(autumn: AutumnCustomer) -> dict[str, JsonValue]:
    """What Autumn shows of a customer, by field."""
    fields: dict[str, JsonValue] = {
        "name": autumn.name,
        "email": autumn.email,
        "stripe_id": autumn.stripe_id,
        "send_email_receipts": autumn.send_email_receipts,
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
