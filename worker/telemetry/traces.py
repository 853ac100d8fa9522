"""Traces of syncs with OpenTelemetry, turned on by OpenTelemetry's own variables.

This file imports `worker.telemetry.spans`, and with it OpenTelemetry, only if traces are on. Otherwise they cost
nothing.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from jobs.observer import Both, Observer

if TYPE_CHECKING:
    from worker.telemetry.spans import Spans

log = structlog.get_logger(__name__)

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"


def are_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether a collector is set, and neither the SDK nor its exporter is turned off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    return "otlp" in exporters.split(",") and any(environment.get(name) for name in ENDPOINTS)


@asynccontextmanager
async def tracing(observer: Observer) -> AsyncIterator[Observer]:
    """Yield the observer, together with traces if they are on, and send the remaining spans at the end.

    If traces cannot be sent, the log says so once, and all else goes on.
    """
    spans = None
    if are_wanted(os.environ):
        protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), PROTOCOL)
        if protocol != PROTOCOL:
            log.warning(
                "traces_disabled", fix=f"{PROTOCOLS[1]} is {protocol}: set it to {PROTOCOL} (port 4318 by default)"
            )
        else:
            spans = _open()
    if spans is None:
        yield observer
        return
    log.info("traces_started")
    try:
        yield Both(observer, spans)
    finally:
        await spans.close()


def _open() -> "Spans | None":
    try:
        from worker.telemetry.spans import open_spans  # noqa: PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        fix = f"install requirements-otel.txt instead of requirements.txt, or unset {ENDPOINTS[1]}"
        log.warning("traces_disabled", missing=error.name, fix=fix)
        return None
    try:
        return open_spans()
    except (ValueError, OSError) as error:
        log.warning("traces_disabled", error=type(error).__name__, fix="correct the variables that begin with OTEL_")
        return None
