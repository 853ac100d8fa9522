"""Whether this process tells of its syncs as OpenTelemetry traces: as OpenTelemetry's variables say, with no setting of
ours.

The door to `worker.telemetry.spans`, which alone imports OpenTelemetry, and is itself imported here and only where
traces are wanted: without them nothing of it is loaded, and a sync costs what it did.
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
    """Whether traces are asked for: a collector is named, and neither the SDK nor its exporter is turned off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    return "otlp" in exporters.split(",") and any(environment.get(name) for name in ENDPOINTS)


@asynccontextmanager
async def tracing(observer: Observer) -> AsyncIterator[Observer]:
    """The observer, with traces beside it where they are wanted; what is left of them is sent off at the end.

    Whatever keeps them from being told is said once in the log, and nothing else changes.
    """
    spans = None
    if are_wanted(os.environ):
        protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), PROTOCOL)
        if protocol != PROTOCOL:
            log.warning(
                "traces_disabled", fix=f"{PROTOCOLS[1]} is {protocol}: only {PROTOCOL} is spoken, port 4318 as a rule"
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
        from worker.telemetry.spans import open_spans  # noqa: PLC0415 - the module's docstring says why
    except ModuleNotFoundError as error:
        fix = f"install requirements-otel.txt instead of requirements.txt, or unset {ENDPOINTS[1]}"
        log.warning("traces_disabled", missing=error.name, fix=fix)
        return None
    try:
        return open_spans()
    except (ValueError, OSError) as error:
        log.warning("traces_disabled", error=type(error).__name__, fix="correct the variables that begin with OTEL_")
        return None
