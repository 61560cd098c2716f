"""Structured logs on standard error, one line an event.

The libraries' own log records pass through the same formatter. Texts that callers send are
not logged.
"""

import logging
import sys
from typing import Literal

import structlog

__all__ = ["LogFormat", "LogLevel", "configure_logging"]

LogFormat = Literal["auto", "console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logging(level: LogLevel, log_format: LogFormat, *, process: str) -> None:
    """Sends the logs of this process to standard error.

    Args:
        level: the least severe level that is written.
        log_format: `auto` is `console` on a terminal and `json` elsewhere.
        process: who writes, such as `front` or `worker:piper`; stands in every line.
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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
