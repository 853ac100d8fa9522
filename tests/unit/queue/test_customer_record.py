"""The customer record: its format in Redis, and the fields that the Lua scripts and Python name."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import pytest

import jobs.queue
from jobs.plan.verified import Verified
from jobs.queue.record import NO_RECORD, SYNC, CustomerRecord, fields_to_write, parse_record
from jobs.queue.watch.state import SeenInStripe

SCRIPTS: Final = {path.name: path.read_text() for path in (Path(jobs.queue.__file__).parent / "lua").glob("*.lua")}
OTHER_HASHES: Final = frozenset(
    {
        "backlog_events",
        "breaker",
        "edits",
        "later_events",
        "owner",
        "totals",
        "events",
        "events_key(0)",
        "events_key(back)",
        "links",
        "notifications",
        "slow",
        "slowdown_key(KEYS[i])",
        "slowdown_key(rate)",
        "watch",
    }
)
"""Names in the scripts of keys of other hashes than customer records."""
SETTLEMENT: Final = "for name, value in pairs(settlement.record) do redis.call('HSET', record, name, value) end"
"""The line of the script that stores the fields of a settlement."""
READS: Final = frozenset({"HGET", "HMGET"})
ALL: Final = frozenset({"HGETALL"})
WRITES: Final = frozenset({"HSET", "HSETNX", "HDEL", "HINCRBY"})
WITH_VALUES: Final = frozenset({"HSET", "HSETNX", "HINCRBY"})
FULL: Final = CustomerRecord(
    link="linked",
    stripe_id="cus_1",
    receipts="no e-mail address",
    reports='[{"at_ms": 1, "events": 1, "actions": [], "findings": []}]',
    last_applied="5-0",
    last_error="timeout",
    last_cause="KeyError at jobs/sync/apply.py:1 apply",
    attempts=1,
    unexpected=2,
    failing_since=1_700_000_000.25,
    recheck=True,
    recheck_kind="echo",
    recheck_tries=3,
    reapplies=4,
    create_generation=5,
    create_tries=6,
    create_sent_at=1_700_000_001.5,
    waits_for="create_failed_before",
    waits_until_ms=1_700_000_060_000,
    payments_read=True,
    refused={"email": ("email_invalid", "digest")},
    forms={"name": ("sent", "stored")},
    receipt_generations={"pi_1": 7, "pi_2": 8},
    takes=9,
    settled_ms=1_700_000_000_000,
    open_lease="token",
    settled_lease="other",
    seen_in_stripe=(SeenInStripe(1_700_000_000_000, "customer.updated", "dashboard", ("email",)),),
    verified=Verified("cus_1", 1_700_000_000.5, True, {"name": "digest", "email": "digest"}, "open", 9),
    changes_in_stripe=10,
    receipt_number="2000-0001",
    receipt_at_ms=1_700_000_000_001,
)


@dataclass(frozen=True)
class Access:
    """The use of a field of the record in a script."""

    script: str
    field: str
    is_write: bool


def arguments_after(text: str, start: int) -> list[str]:
    """Return the trimmed arguments of a call whose opening bracket is before `start`."""
    found, depth, begin, quoted = list[str](), 0, start, False
    for at in range(start, len(text)):
        character = text[at]
        if character == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif depth == 0 and character in ",)":
            found.append(" ".join(text[begin:at].split()))
            begin = at + 1
            if character == ")":
                return found
        else:
            depth += (character in "({") - (character in ")}")
    raise AssertionError("a call without an end")


def is_customer_hash(key: str, text: str) -> bool:
    """Whether this is a name of the customer record in the script."""
    (keys,) = re.findall(r"^-- KEYS: (.*)$", text, re.MULTILINE) or [""]
    names = [name.strip() for name in keys.split(",")]
    return (
        key == "record"
        or "':customer:'" in key
        or key in {f"KEYS[{at}]" for at, name in enumerate(names, 1) if name == "record"}
    )


def accesses(script: str, text: str) -> Iterator[Access]:
    """Yield each access to a field of the record. Raises AssertionError if one cannot be parsed."""
    text = re.sub(r"--.*", lambda comment: comment[0] if "KEYS:" in comment[0] else "", text).replace(SETTLEMENT, "")
    for call in re.finditer(r"'(H[A-Z]+)', ", text):
        key, *named = arguments_after(text, call.end())
        command = call[1]
        if key in OTHER_HASHES:
            continue
        assert is_customer_hash(key, text), f"{script}: {key}: a hash that this test does not know"
        if command in ALL:
            continue
        assert command in READS | WRITES, f"{script}: {command}: a command that this test does not know"
        for name in named[::2] if command in WITH_VALUES else named:
            assert re.fullmatch(r"'\w+'", name), f"{script}: {name}: the name of a field is not a constant"
            yield Access(script, name.strip("'"), command in WRITES)


def disagreements(scripts: Mapping[str, str]) -> set[str]:
    """Return the differences between the fields of the scripts and those of `CustomerRecord`."""
    found = [each for script, text in scripts.items() for each in accesses(script, text)]
    known = {each.name: set(each.metadata["writers"]) for each in fields(CustomerRecord)}
    written = {(each.script, each.field) for each in found if each.is_write}
    listed = {(writer, name) for name, writers in known.items() for writer in writers - {SYNC}}
    return {
        *(f"{each.script}: {each.field} is not a field" for each in found if each.field not in known),
        *(f"{script}: writes {name}, which does not list it" for script, name in written - listed if name in known),
        *(f"{script}: does not write {name}, which lists it" for script, name in listed - written),
        *(f"{name}: nothing writes it" for name, writers in known.items() if not writers),
    }


def test_scripts_and_record_name_the_same_fields() -> None:
    assert disagreements(SCRIPTS) == set()
    assert SETTLEMENT in SCRIPTS["settle.lua"]


@pytest.mark.parametrize(
    ("script", "old", "new", "expected"),
    [
        ("replay.lua", "'last_applied'", "'newest'", "replay.lua: newest is not a field"),
        ("erase_customer.lua", "'stripe_id'", "'stripe'", "erase_customer.lua: stripe is not a field"),
        ("take.lua", "'takes', 1", "'taken', 1", "take.lua: taken is not a field"),
        ("take.lua", "'open_lease', token", "'takes', token", "take.lua: does not write open_lease, which lists it"),
        ("recheck.lua", "'recheck_kind'", "'link'", "recheck.lua: writes link, which does not list it"),
        ("rechecks.lua", "'recheck', '1'", "'recheck', '1', 'due', '1'", "rechecks.lua: due is not a field"),
        (
            "settle.lua",
            "HDEL', record, 'open_lease'",
            "HDEL', record, 'open_lease', 'x'",
            "settle.lua: x is not a field",
        ),
    ],
)
def test_disagreement_of_a_script_is_found(script: str, old: str, new: str, expected: str) -> None:
    assert old in SCRIPTS[script]
    assert expected in disagreements(SCRIPTS | {script: SCRIPTS[script].replace(old, new)})


@pytest.mark.parametrize(
    "line",
    [
        "redis.call('HSET', other, 'link', '')",
        "redis.call('HSET', record, name, '')",
        "redis.call('HSTRLEN', record, 'link')",
    ],
)
def test_unreadable_access_is_an_error(line: str) -> None:
    with pytest.raises(AssertionError):
        disagreements(SCRIPTS | {"new.lua": line})


def test_field_without_script_is_found() -> None:
    without = {name: text for name, text in SCRIPTS.items() if name != "take.lua"}
    assert "take.lua: does not write takes, which lists it" in disagreements(without)


def stored(record: CustomerRecord) -> dict[bytes, bytes]:
    return {name.encode(): text.encode() for name, text in fields_to_write(record).items()}


def test_record_reads_back_as_it_was_written() -> None:
    assert all(getattr(FULL, each.name) != getattr(NO_RECORD, each.name) for each in fields(CustomerRecord))
    assert parse_record(stored(FULL)) == (FULL, [])


def test_only_changed_fields_are_written() -> None:
    after = replace(FULL, attempts=0, failing_since=None, refused={}, receipt_generations={"pi_1": 7, "pi_2": 9})
    written = {"attempts": "0", "failing_since": "", "refused": "", "receipt_generation:pi_2": "9"}
    assert fields_to_write(after, FULL) == written
    emptied = stored(FULL) | {name.encode(): text.encode() for name, text in written.items()}
    assert parse_record(emptied) == (after, [])


def test_empty_unknown_and_unreadable_fields_have_defaults() -> None:
    raw = {b"attempts": b"many", b"failing_since": b"nan", b"refused": b"[1]", b"link": b"", b"of_another": b"x"}
    raw |= {b"receipt_generation:pi_1": b"x", b"receipt_generation:pi_2": b"2", b"waits_for": b"timeout"}
    record, broken = parse_record(raw)
    assert record == CustomerRecord(receipt_generations={"pi_2": 2})
    assert set(broken) == {"attempts", "failing_since", "refused", "receipt_generation:pi_1", "waits_for"}


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[1]",
        '{"at_ms": 1}',
        '[{"at_ms": -1, "type": "t", "cause": "c", "fields": []}]',
        '[{"at_ms": 9007199254740992, "type": "t", "cause": "c", "fields": []}]',
        '[{"at_ms": 1, "type": "t", "cause": 2, "fields": []}]',
        '[{"at_ms": 1, "type": "t", "cause": "c", "fields": [3]}]',
    ],
)
def test_unreadable_events_of_stripe_are_left_out(text: str) -> None:
    assert parse_record({b"seen_in_stripe": text.encode()}) == (NO_RECORD, ["seen_in_stripe"])


def test_events_of_stripe_are_read_in_order_of_time() -> None:
    text = (
        '[{"at_ms": 2, "type": "customer.deleted", "cause": "app", "fields": {}},'
        ' {"at_ms": 1, "type": "customer.updated", "cause": "stripe", "fields": ["name"]}]'
    )
    first, second = SeenInStripe(1, "customer.updated", "stripe", ("name",)), SeenInStripe(2, "customer.deleted", "app")
    assert parse_record({b"seen_in_stripe": text.encode()})[0].seen_in_stripe == (first, second)
