"""Structured logs on standard error, one line an event.

The libraries' own log records pass through the same formatter, and so do warnings and exceptions
that nobody caught. Texts that callers send are not logged.
"""

import logging
import sys
import threading
from types import TracebackType
from typing import Literal

import structlog

from .tracing import current_span

__all__ = ["LogFormat", "LogLevel", "configure_logging", "log_failure"]

LogFormat = Literal["auto", "console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logging(level: LogLevel, log_format: LogFormat, *, process: str) -> bool:
    """Sends the logs of this process to standard error.

    Args:
        level: the least severe level that is written.
        log_format: `auto` is `console` on a terminal and `json` elsewhere.
        process: who writes, such as `front` or `worker:piper`; stands in every line.

    Returns:
        Whether each line is JSON.
    """
    if log_format == "auto":
        log_format = "console" if sys.stderr.isatty() else "json"

    def add_process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_process,
        _add_span,
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if log_format == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At debug it writes a line for every look at its event loop.
    logging.getLogger("grpc").setLevel(logging.INFO)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_tells_of_ourselves)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _catch_the_uncaught()
    return log_format == "json"


def log_failure(problem: str) -> None:
    """Says why this process can't go on."""
    structlog.get_logger().critical("can't serve", problem=problem)


# What gRPC says of callers, with a trace each: one left while it was being answered, of which the
# call's own line has the code; one sent bytes for text, and there they are.
_SAID_OF_CALLERS = ("ExecuteBatchError raised in core by servicer method", "Invalid encoding on ")


def _tells_of_ourselves(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_SAID_OF_CALLERS)


def _add_span(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if (ids := current_span().ids) is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _catch_the_uncaught() -> None:
    """Logs what Python would write to standard error as it is, in many lines.

    What a task raised and nobody asked for, asyncio gives to a logger of its own.
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    structlog.get_logger().critical("uncaught exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_value is None or isinstance(uncaught.exc_value, SystemExit):
        return
    structlog.get_logger().error(
        "uncaught exception in a thread",
        thread=None if uncaught.thread is None else uncaught.thread.name,
        exc_info=uncaught.exc_value,
    )


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    if unraisable.exc_value is None:
        return
    structlog.get_logger().error(
        unraisable.err_msg or "exception that can't be raised",
        object=repr(unraisable.object),
        exc_info=unraisable.exc_value,
    )
