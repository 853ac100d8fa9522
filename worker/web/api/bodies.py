"""The events in the body of POST /v1/events. No I/O, so that a thread can read a large body."""

import json
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue

from jobs.events import CHANGES_MAX_BYTES, EventError, Fault, check_size, new_update, parse_json
from worker.web.api.refusals import RefusalError

EVENTS_AT_MOST: Final = 1_000
FAULTS_AT_MOST: Final = 1_000
"""Faults that an answer lists. Events after these are not checked."""


def read_events(body: bytes, source: str) -> list[dict[str, str]]:
    """Return the fields of each event's entry, with this source.

    Raises RefusalError that lists the faults of all events, or says that there may be more.
    """
    try:
        found = parse_json(body.decode())
    except UnicodeDecodeError:
        raise RefusalError(400, "invalid_json", "The body is not UTF-8 text.") from None
    except ValueError as error:
        raise RefusalError(400, "invalid_json", f"The body {error}.") from None
    events = found if isinstance(found, list) else [found]
    if len(events) > EVENTS_AT_MOST:
        raise RefusalError(413, "too_large", f"Send at most {EVENTS_AT_MOST:,} events in a request.")
    entries, faults, may_have_more = _check(events, source, may_be_too_large=len(body) > CHANGES_MAX_BYTES)
    if faults or not events:
        listed = " More may be wrong than is listed." if may_have_more else ""
        text = f"Nothing was accepted, because {'events are invalid' if events else 'the list is empty'}.{listed}"
        raise RefusalError(400, "invalid_events", text, fields=faults)
    return entries


def _check(
    events: Sequence[JsonValue], source: str, *, may_be_too_large: bool
) -> tuple[list[dict[str, str]], list[JsonValue], bool]:
    """Return the entries of the valid events, the faults of the others, and whether there may be more faults."""
    entries: list[dict[str, str]] = []
    faults: list[JsonValue] = []
    may_have_more = False
    for index, event in enumerate(events):
        try:
            entries.append({**_entry_of(event, may_be_too_large=may_be_too_large), "source": source})
        except EventError as error:
            faults += [{"entry": index, "field": each.field, "message": each.message} for each in error.faults]
            may_have_more = may_have_more or error.may_have_more or len(faults) >= FAULTS_AT_MOST
            if len(faults) >= FAULTS_AT_MOST:
                break
    return entries, faults[:FAULTS_AT_MOST], may_have_more


def _entry_of(event: JsonValue, *, may_be_too_large: bool) -> dict[str, str]:
    if not isinstance(event, dict):
        raise EventError(Fault("", "must be a JSON object"))
    if may_be_too_large:
        # Before the validation, which takes a microsecond for each value in it.
        changes = json.dumps(event.get("changes"), ensure_ascii=False, separators=(",", ":"))
        check_size(len(changes.encode("utf-8", "surrogatepass")))
    return new_update(**event).fields()
