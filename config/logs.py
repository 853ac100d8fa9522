"""The log format: structured lines with an event name and fields, never a payload, a key or an address."""

import logging
import traceback
from typing import Final, Literal

import structlog
from structlog.typing import ExcInfo

DEPTH: Final = 5


def configure_logs(log_format: Literal["json", "console"], level: str) -> None:
    """Send every log line, ours and the libraries', to standard error in one format.

    The libraries below log only from WARNING on: at INFO, arq logs a job's arguments and the others log URLs.
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
    """Render an error as its traceback and its type, without its message, which may quote a payload.

    The members of groups and the causes are rendered too, at most DEPTH levels deep.
    """
    return "\n".join(_rendered(exc_info[1], DEPTH))


def _rendered(error: BaseException, depth: int) -> list[str]:
    texts = ["".join(traceback.format_tb(error.__traceback__)) + type(error).__name__]
    if depth <= 1:
        return texts
    for member in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        texts += _rendered(member, depth - 1)
    if error.__cause__ is not None:
        texts += ["caused by", *_rendered(error.__cause__, depth - 1)]
    return texts


def _without_words(record: logging.LogRecord) -> bool:
    """Replace errors that a library puts into its log text by their types. Keep every record."""
    if isinstance(record.args, tuple):
        record.args = tuple(type(each).__name__ if isinstance(each, Exception) else each for each in record.args)
    return True
