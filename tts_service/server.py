"""The front: wires its parts, starts and stops them in order."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_reflection.v1alpha import reflection

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from voice_store import VoiceStore, VoiceStoreError

from .admission import Admission, Quotas
from .api import (
    CallBoundary,
    Health,
    OpenCalls,
    TextToSpeechServicer,
    make_grpc_server,
    server_options,
)
from .cache import CacheUnusableError, DiskTier
from .config import ConfigError, Settings
from .drain import drain
from .fleet import (
    EngineState,
    Fleet,
    LostReason,
    WorkerCommand,
    WorkerLimits,
    WorkerMisconfiguredError,
)
from .listener import bind, check_exposure, make_gate
from .ops import systemd
from .ops.allocator import trim_freed_memory
from .ops.collector import spare_what_is_loaded
from .ops.metrics import Metrics, serve_metrics
from .ops.tracing import NO_TRACER, Tracer, TracingUnavailableError, open_tracer
from .signals import stop_on_signal
from .synthesis import CacheLimits, SpeechCache, Synthesizer
from .voices import Embeddings, VoiceDirectory, VoiceUploads

__all__ = ["Server", "serve"]

_TRACE_FLUSH_TIMEOUT_S = 3.0
_TTS_SERVICE = tts_pb2.DESCRIPTOR.services_by_name["TextToSpeech"].full_name


class Server:
    """A front and its workers. Made inside the running event loop.

    Args:
        disk: what was spoken is kept there; None keeps nothing.
        tracer: begins the spans of calls.
        on_ready: called once, when all engines are ready, or some are and the others have failed
            to start, with the port that is listened on (0 for a unix socket) and a few words about
            the engines.
    """

    def __init__(
        self,
        settings: Settings,
        store: VoiceStore,
        disk: DiskTier | None,
        *,
        tracer: Tracer = NO_TRACER,
        on_ready: Callable[[int, str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._tracer = tracer
        self._on_ready: Callable[[int, str], None] | None = on_ready
        self._began_s = time.monotonic()
        self._port = 0
        self._stopping = False
        self._health = Health()
        self._calls = OpenCalls(limit_s=settings.connections.call_limit_s)
        self._metrics = Metrics()
        self._fleet = Fleet(
            [
                WorkerCommand(
                    engine,
                    settings.engine_options(engine),
                    log_level=settings.log_level,
                    log_format=settings.log_format,
                    trace_endpoint=settings.tracing.endpoint,
                )
                for engine in settings.engines
            ],
            {engine: _worker_limits(settings, engine) for engine in settings.engines},
            on_change=self._on_change,
            on_lost=lambda engine, why: self._metrics.worker_restarts.labels(engine, why).inc(),
        )
        self._cache = SpeechCache(
            disk,
            CacheLimits(
                memory_bytes=settings.cache.memory_limit_bytes,
                entry_bytes=settings.cache.entry_limit_bytes,
                waiting_bytes=4 * settings.cache.entry_limit_bytes,
                max_age_s=settings.cache.max_age_s or None,
            ),
            self._metrics,
        )
        self._directory = VoiceDirectory(self._fleet, store)
        self._admission = Admission(
            settings.engines,
            settings.admission,
            Quotas(settings.quotas),
            slots=self._fleet.calls_at_once,
            on_refused=lambda engine, reason: self._metrics.shed.labels(
                engine, reason.lower()
            ).inc(),
        )
        self._embeddings = Embeddings(store, self._fleet, engine_wait_s=settings.engine_wait_s)
        self._uploads = VoiceUploads(
            store,
            self._directory,
            self._embeddings,
            settings.uploads,
            spool_dir=settings.data_dir / "spool",
            forget_speech=self._cache.forget_content,
        )
        self._fatal: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._background: set[asyncio.Task[None]] = set()
        self._synthesizer = Synthesizer(
            self._fleet,
            self._directory,
            self._embeddings,
            self._cache,
            self._admission,
            self._metrics.speech,
            engine_wait_s=settings.engine_wait_s,
            render_ahead_ms=settings.render_ahead_ms,
        )
        self._watch()

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then lets calls finish within the grace period.

        Raises:
            ConfigError: the address can't be listened on, an engine refused its options, or the
                default voice is none of the engines'.
        """
        server, stop_metrics = self._listen(), self._serve_metrics()
        workers = asyncio.create_task(self._fleet.run(), name="fleet")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        cache = asyncio.create_task(self._cache.run(self._contents), name="cache")
        lag = asyncio.create_task(self._metrics.watch_event_loop(), name="event-loop-lag")
        memory = asyncio.create_task(trim_freed_memory(), name="trim-memory")
        tasks: set[asyncio.Task[Any]] = {workers, stopped, cache, lag, memory}
        try:
            await self._on_change()
            await server.start()
            serving = asyncio.create_task(server.wait_for_termination(), name="serving")
            tasks.add(serving)
            ends = (workers, stopped, self._fatal, serving)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                raise RuntimeError("gRPC has ended its server by itself; its own words are above")
        finally:
            self._stopping = True
            systemd.notify("STOPPING=1")
            # Otherwise nobody sends calls here yet, or there is nothing to serve them with.
            is_in_use = stop.is_set() and (self._on_ready is None or self._fleet.speaking)
            await drain(
                server,
                self._health,
                self._calls,
                delay_s=self._settings.connections.drain_delay_s if is_in_use else 0.0,
                grace_s=self._settings.shutdown_grace_s,
            )
            await self._synthesizer.close()
            # What was complete is kept before the workers are waited for.
            await _end({cache})
            await self._cache.close()
            await _end(tasks | self._background)
            stop_metrics()
        if self._fatal.done():
            self._fatal.result()
        if not workers.cancelled() and isinstance(workers.exception(), WorkerMisconfiguredError):
            raise ConfigError(
                f"engine {workers.exception()} refused its settings; its own line above says which"
            )

    def _listen(self) -> grpc.aio.Server:
        settings = self._settings
        check_exposure(settings)
        boundary = CallBoundary(
            make_gate(settings),
            self._calls,
            self._tracer,
            self._metrics.calls,
            stall_limit_s=settings.stall_limit_s,
            request_limit_bytes=settings.request_limit_bytes,
        )
        server = make_grpc_server(
            interceptors=[boundary],
            options=server_options(settings.connections, stall_limit_s=settings.stall_limit_s),
        )
        tts_pb2_grpc.add_TextToSpeechServicer_to_server(
            TextToSpeechServicer(
                self._settings,
                self._fleet,
                self._directory,
                self._synthesizer,
                self._uploads,
                self._admission,
                self._metrics.uploads,
            ),
            server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            names = (_TTS_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        self._port = bind(server, self._settings)
        return server

    def _watch(self) -> None:
        """Has the metrics look at what is there when they are read."""
        for worker in self._fleet.engines:
            self._metrics.watch_worker(
                worker.engine,
                states=tuple(EngineState),
                losses=tuple(LostReason),
                ready=EngineState.READY,
                state=partial(getattr, worker, "state"),
                pid=partial(getattr, worker, "pid"),
            )
        for engine, gate in self._admission.gates.items():
            self._metrics.watch_admission(
                engine,
                slots=partial(getattr, gate, "slots"),
                active=partial(getattr, gate, "active"),
                queued=partial(getattr, gate, "waiting"),
            )
        directory = self._directory
        self._metrics.watch_voices("uploaded", lambda: directory.catalog.uploaded_count)
        self._metrics.watch_voices(
            "engine", lambda: len(directory.catalog) - directory.catalog.uploaded_count
        )
        self._metrics.watch_disk(self._settings.data_dir)

    def _serve_metrics(self) -> Callable[[], None]:
        """Answers Prometheus if that is wanted; returns what ends it."""
        host, _, port = self._settings.metrics_listen.rpartition(":")
        if not host:
            return lambda: None
        try:
            actual, stop = serve_metrics(self._metrics, host.strip("[]"), int(port))
        except OSError as error:
            raise ConfigError(
                f"can't listen on {self._settings.metrics_listen}: {error.strerror}; choose "
                "another with metrics_listen"
            ) from error
        structlog.get_logger().info("metrics", url=f"http://{host}:{actual}/metrics")
        return stop

    def _contents(self) -> set[str]:
        """The content fingerprints of all uploaded voices."""
        return {voice.content_fingerprint for voice in self._store.list()}

    async def _on_change(self) -> None:
        """Takes in that an engine came or went: the voices, the health, the first readiness."""
        if self._stopping:
            return
        self._directory.refresh()
        serving = dict.fromkeys(("", _TTS_SERVICE), self._fleet.speaking)
        for engine in self._fleet.engines:
            serving[f"{_TTS_SERVICE}/{engine.engine}"] = engine.state is EngineState.READY
        for service, is_serving in serving.items():
            self._health.set(service, is_serving=is_serving)
        if self._fleet.is_settled and self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None
            default_voice = self._settings.default_voice
            is_known = all(engine.description is not None for engine in self._fleet.engines)
            if default_voice and is_known and default_voice not in self._directory.catalog:
                self._fatal.set_exception(
                    ConfigError(f"default_voice: no engine has a voice {default_voice!r}")
                )
                return
            spare_what_is_loaded()
            systemd.notify("READY=1")
            on_ready(self._port, self._summary())
        self._embed_missing()

    def _embed_missing(self) -> None:
        """Has embeddings made that the cloning engine's present model still lacks."""
        engine = self._directory.cloning_engine()
        if engine is None or engine.state is not EngineState.READY or self._background:
            return
        task = asyncio.create_task(self._embeddings.make_missing(engine), name="embed-missing")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _summary(self) -> str:
        engines = []
        for engine in self._fleet.engines:
            if engine.description is None:
                engines.append(f"{engine.engine}: not ready")
                continue
            count = len(engine.description.voices)
            engines.append(f"{engine.engine}: {count} voice{'' if count == 1 else 's'}")
        return f"{', '.join(engines)}; {time.monotonic() - self._began_s:.1f} s"


async def serve(settings: Settings, *, on_ready: Callable[[int, str], None]) -> None:
    """Serves until SIGTERM or SIGINT. See `Server`."""
    stop = stop_on_signal()
    try:
        store = VoiceStore.open(settings.data_dir / "voices")
    except (OSError, VoiceStoreError) as error:
        raise ConfigError(f"data_dir: the voices in it can't be opened: {error}") from error
    with store:
        for finding in store.broken:
            structlog.get_logger().error(
                "a voice is broken and left out; see `tts-service voices check`",
                voice=finding.voice_id,
                problem=finding.problem,
            )
        if settings.log_text:
            structlog.get_logger().warning(
                "the log holds what is spoken, which may be private; see the setting log_text"
            )
        tracer = _open_tracer(settings)
        try:
            cache = _open_cache(settings)
            await Server(settings, store, cache, tracer=tracer, on_ready=on_ready).run(stop)
        finally:
            await asyncio.to_thread(tracer.close, _TRACE_FLUSH_TIMEOUT_S)


def _open_tracer(settings: Settings) -> Tracer:
    try:
        tracer = open_tracer(
            settings.tracing.endpoint,
            sample_ratio=settings.tracing.sample_ratio,
            process="front",
        )
    except TracingUnavailableError as error:
        raise ConfigError(str(error)) from error
    if settings.tracing.endpoint:
        structlog.get_logger().info("tracing", endpoint=settings.tracing.endpoint)
    return tracer


def _open_cache(settings: Settings) -> DiskTier | None:
    if not settings.cache.enabled:
        return None
    try:
        return DiskTier.open(
            settings.cache.folder(settings.data_dir),
            size_limit_bytes=settings.cache.size_limit_bytes,
        )
    except CacheUnusableError as error:
        structlog.get_logger().warning("there is no cache; speech goes on", problem=str(error))
        return None


def _worker_limits(settings: Settings, engine: str) -> WorkerLimits:
    return WorkerLimits(
        start_timeout_s=settings.worker_start_timeout_s,
        health_interval_s=settings.worker_health_interval_s,
        progress_timeout_s=settings.worker_progress_timeout_s,
        drain_s=settings.worker_drain_s,
        memory_growth_bytes=settings.memory_growth_bytes(engine),
        failure_limit=settings.worker_failure_limit,
        retry_s=settings.worker_retry_s,
    )


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
