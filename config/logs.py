"""How the worker logs: structured lines, one event name and its fields, never a payload, a key or an address."""

import logging
import traceback
from typing import Literal

import structlog
from structlog.typing import ExcInfo


def configure_logs(log_format: Literal["json", "console"], level: str) -> None:
    """Send every log line, ours and the libraries', to standard error in one format.

    The libraries below speak at WARNING only: arq repeats a job's arguments, the others the addresses they call.
    """
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer()
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(_places),
                renderer,
            ],
        )
    )
    handler.addFilter(_without_words)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("arq", "httpx", "httpcore", "stripe", "aiohttp", "asyncio", "opentelemetry", "urllib3"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)


def _places(exc_info: ExcInfo) -> str:
    """An error as the places it came through and its type: its own words may quote what was sent. A group, too."""
    kind, error, trace = exc_info
    text = "".join(traceback.format_tb(trace)) + kind.__name__
    each = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([text, *(_places((type(one), one, one.__traceback__)) for one in each)])


def _without_words(record: logging.LogRecord) -> bool:
    """The same for an error that a library puts into its text. Keeps every record."""
    if isinstance(record.args, tuple):
        record.args = tuple(type(each).__name__ if isinstance(each, Exception) else each for each in record.args)
    return True
