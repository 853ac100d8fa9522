"""The OpenAPI document of the routes in worker.web.api.events. The event in it is generated from the model."""

from functools import cache
from typing import Any, Final

from jobs.schema import event_schema

VERSION: Final = "1"
REF: Final = "#/components/schemas/"
ABOUT_EVENT: Final = (
    "A customer changed (customer.updated, which needs changes), or both sides should be compared (customer.reconcile, "
    "without changes). The same event_id twice within 24 hours is one event. The name of the token replaces source."
)
REFUSALS: Final = {
    400: "The events or a parameter are invalid, and nothing was accepted. `fields` lists every fault of an event.",
    401: "The token is missing or wrong.",
    404: "Nothing is known of the event.",
    408: "The body did not arrive in time.",
    411: "The body has no Content-Length.",
    413: "The body has more than 1,000 events or 1 MiB.",
    415: "The body has a Content-Encoding.",
    429: "The token has sent too many events, or too many requests wait for an outcome.",
    500: "A fault in this software.",
    503: "Redis does not answer or takes no writes.",
}


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document."""
    event = event_schema(REF + "{model}")
    changes = event.pop("$defs")
    del event["$schema"]
    event["description"] = ABOUT_EVENT
    event["properties"]["traceparent"] = {"description": "W3C Trace Context. An invalid value is ignored."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "autumn-stripe-sync",
            "version": VERSION,
            "description": "Send events about customers, and read what became of them.",
        },
        "paths": {
            "/v1/events": {"post": _add_events()},
            "/v1/events/{id}": {"get": _read_event()},
            "/v1/openapi.json": {"get": _read_document()},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Event": event, **changes, **_answers()},
        },
        "security": [{"token": []}],
    }


def _add_events() -> dict[str, Any]:
    events = {"type": "array", "items": _ref("Event"), "minItems": 1, "maxItems": 1000}
    return {
        "operationId": "addEvents",
        "summary": "Add one event or a list of events: all of them or none.",
        "requestBody": {"required": True, "content": _json({"anyOf": [_ref("Event"), events]})},
        "responses": {
            "202": {"description": "Redis has all events.", "content": _json(_ref("Accepted"))},
            **_refusals(400, 401, 408, 411, 413, 415, 429, 500, 503),
        },
    }


def _read_event() -> dict[str, Any]:
    wait = {"type": "number", "minimum": 0, "maximum": 30, "default": 0}
    about_wait = "Seconds to wait at most until the event is no longer waiting."
    return {
        "operationId": "readEvent",
        "summary": "Read what became of an event of the last 24 hours.",
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "An id that POST /v1/events answered.",
                "schema": {"type": "string", "minLength": 1},
            },
            {"name": "wait", "in": "query", "description": about_wait, "schema": wait},
        ],
        "responses": {
            "200": {"description": "The event is known.", "content": _json(_ref("EventStatus"))},
            **_refusals(400, 401, 404, 408, 411, 413, 415, 429, 500, 503),
        },
    }


def _read_document() -> dict[str, Any]:
    return {
        "operationId": "readDocument",
        "summary": "Read this document.",
        "security": [],
        "responses": {"200": {"description": "This document.", "content": _json({"type": "object"})}},
    }


def _answers() -> dict[str, Any]:
    text = {"type": "string"}
    fault = _object({"entry": {"type": "integer", "minimum": 0}, "field": text, "message": text})
    status = {
        "id": text,
        "status": {"enum": ["waiting", "applied", "dead"]},
        "customer_id": text,
        "entry_id": text,
        "reason": {"type": ["string", "null"], "description": "Why the event is dead."},
        "at": {"type": ["integer", "null"], "description": "Milliseconds since the epoch; null while it waits."},
    }
    return {
        "Accepted": _object({"ids": {"type": "array", "items": text}}),
        "EventStatus": _object(status),
        "Fault": fault,
        "Error": {
            "type": "object",
            "properties": {"error": text, "message": text, "fields": {"type": "array", "items": _ref("Fault")}},
            "required": ["error", "message"],
            "additionalProperties": False,
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": REFUSALS[status], "content": _json(_ref("Error"))}
    if status in {429, 503}:
        about = "Seconds until a new try."
        found["headers"] = {"Retry-After": {"description": about, "schema": {"type": "integer", "minimum": 1}}}
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": REF + name}
