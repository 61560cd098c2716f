"""The process that hosts one engine behind `engine.v1.Engine`.

    python -m tts_service.engines.worker --engine piper --listen unix:/run/piper.sock

Health answers NOT_SERVING until the engine is warm. The process ends on SIGTERM, and with
`--exit-with-parent` also when its standard input closes: the front holds the other end of
that pipe, so a worker never outlives its front, however the front ended.
"""

import argparse
import asyncio
import inspect
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from protos.engine.v1 import engine_pb2_grpc

from ..ops.collector import spare_what_is_loaded
from ..ops.logging import configure_logging
from ..ops.tracing import NO_TRACER, Tracer, TracingUnavailableError, open_tracer
from .base import OptionError, find_engine
from .servicer import EngineServicer

__all__ = ["main"]

EXIT_USAGE = 2
_STOP_GRACE_S = 1.0
# Well within what the front waits for its workers.
_FLUSH_TIMEOUT_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Runs a worker until it is told to end. Returns the exit status."""
    parsed = _parser().parse_args(arguments)
    process = f"worker:{parsed.engine}"
    configure_logging(parsed.log_level, parsed.log_format, process=process)
    tracer = _open_tracer(parsed.trace_endpoint, process)
    # ONNX Runtime sends usage data to its maker, and keeps it in $HOME and $TMPDIR till then.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if parsed.exit_with_parent:
        # A terminal's Ctrl-C and many supervisors signal all processes. Calls may go on for a
        # while then, and the parent says when they are over.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        threading.Thread(
            target=_exit_with_parent,
            args=(parsed.listen, tracer),
            name="parent-watch",
            daemon=True,
        ).start()
    try:
        options = dict(_split_option(option) for option in parsed.option)
        asyncio.run(
            _serve(
                parsed.engine, options, parsed.listen, tracer, with_parent=parsed.exit_with_parent
            )
        )
    except OptionError as error:
        structlog.get_logger().error("the engine's settings can't be used", problem=str(error))
        return EXIT_USAGE
    finally:
        tracer.close(_FLUSH_TIMEOUT_S)
    return 0


def _open_tracer(endpoint: str, process: str) -> Tracer:
    """Speech goes on without traces; an engine's environment may lack what they take."""
    try:
        # The front decides what is recorded, and its metadata tells.
        return open_tracer(endpoint, sample_ratio=0.0, process=process)
    except TracingUnavailableError as error:
        structlog.get_logger().warning("there are no traces of this worker", problem=str(error))
        return NO_TRACER


async def _serve(
    engine_name: str, options: dict[str, str], listen: str, tracer: Tracer, *, with_parent: bool
) -> None:
    log = structlog.get_logger()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    if not with_parent:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    health = health_aio.HealthServicer()
    servicer = EngineServicer(tracer)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    engine_pb2_grpc.add_EngineServicer_to_server(servicer, server)
    await _set_health(health, serving=False)
    try:
        server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OptionError(f"can't listen on {listen}") from error
    await server.start()
    try:
        opener = find_engine(engine_name)
        try:
            inspect.signature(opener).bind(**options)
        except TypeError as error:
            raise OptionError(f"engine {engine_name!r}: {error}") from error
        engine = await asyncio.to_thread(opener, **options)
        servicer.attach(engine)
        spare_what_is_loaded()
        await _set_health(health, serving=True)
        log.info("engine ready", voices=len(engine.describe().voices))
        await stop.wait()
    finally:
        await health.enter_graceful_shutdown()
        await server.stop(_STOP_GRACE_S)
        await servicer.close()


async def _set_health(health: health_aio.HealthServicer, *, serving: bool) -> None:
    response = health_pb2.HealthCheckResponse
    for service in ("", "engine.v1.Engine"):
        await health.set(service, response.SERVING if serving else response.NOT_SERVING)


def _exit_with_parent(listen: str, tracer: Tracer) -> None:
    """Ends the process when its standard input closes, and takes its socket along."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    if listen.startswith("unix:"):
        socket = Path(listen.removeprefix("unix:"))
        with suppress(OSError):
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()  # only if nothing else lies in it
    tracer.close(_FLUSH_TIMEOUT_S)
    # At once and from this thread: the main one may be deep in a model.
    os._exit(0)


def _split_option(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator:
        raise OptionError(f"--option is written NAME=VALUE, not {option!r}")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tts_service.engines.worker",
        description="Hosts one engine behind the gRPC service engine.v1.Engine.",
    )
    parser.add_argument("--engine", required=True, help="name of the engine: tone, piper, …")
    parser.add_argument("--listen", required=True, help="unix:PATH or HOST:PORT")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the engine; may be given many times",
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    parser.add_argument("--log-format", default="auto", choices=("auto", "console", "json"))
    parser.add_argument(
        "--trace-endpoint", default="", metavar="URL", help="OTLP collector that takes spans"
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end when standard input is closed, and at no SIGTERM or SIGINT",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
