"""The front: wires its parts, starts and stops them in order."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from protos.tts.v1 import tts_pb2, tts_pb2_grpc
from voice_store import VoiceStore, VoiceStoreError

from .api import CallBoundary, TextToSpeechServicer
from .cache import CacheUnusableError, DiskTier
from .config import ConfigError, Settings
from .fleet import EngineState, Fleet, WorkerCommand, WorkerMisconfiguredError
from .ops.metrics import Metrics, serve_metrics
from .synthesis import CacheLimits, SpeechCache, Synthesizer
from .voices import Embeddings, VoiceDirectory, VoiceUploads

__all__ = ["Server", "serve"]

_TTS_SERVICE = tts_pb2.DESCRIPTOR.services_by_name["TextToSpeech"].full_name

_SERVER_OPTIONS = (
    # Two servers on one port would share its callers without a word.
    ("grpc.so_reuseport", 0),
    # By default a client that pings more often than every five minutes is sent away, and a
    # client has to ping to notice a dead connection in the midst of a stream.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
)
_KEEPALIVE_MS = 60_000
_PEER_TIMEOUT_S = 300.0


class Server:
    """A front and its workers. Made inside the running event loop.

    Args:
        disk: what was spoken is kept there; None keeps nothing.
        on_ready: called once, when all engines are ready, with the port that is listened on
            (0 for a unix socket) and a few words about the engines.
    """

    def __init__(
        self,
        settings: Settings,
        store: VoiceStore,
        disk: DiskTier | None,
        *,
        on_ready: Callable[[int, str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._on_ready: Callable[[int, str], None] | None = on_ready
        self._began_s = time.monotonic()
        self._port = 0
        self._stopping = False
        self._health = health_aio.HealthServicer()
        self._fleet = Fleet(
            [
                WorkerCommand(
                    engine,
                    settings.engine_options(engine),
                    log_level=settings.log_level,
                    log_format=settings.log_format,
                )
                for engine in settings.engines
            ],
            start_timeout_s=settings.worker_start_timeout_s,
            health_interval_s=settings.worker_health_interval_s,
            on_change=self._on_change,
        )
        self._metrics = Metrics()
        self._metrics.watch_tasks(asyncio.get_running_loop())
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
            engine_wait_s=settings.engine_wait_s,
            render_ahead_ms=settings.render_ahead_ms,
        )

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
        tasks: set[asyncio.Task[Any]] = {workers, stopped, cache}
        try:
            await self._on_change()
            await server.start()
            await asyncio.wait([workers, stopped, self._fatal], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            await self._health.enter_graceful_shutdown()
            await server.stop(self._settings.shutdown_grace_s)
            tasks |= self._background
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._synthesizer.close()
            await self._cache.close()
            stop_metrics()
        if self._fatal.done():
            self._fatal.result()
        if not workers.cancelled() and isinstance(workers.exception(), WorkerMisconfiguredError):
            raise ConfigError(
                f"engine {workers.exception()} refused its settings; its own line above says which"
            )

    def _listen(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[CallBoundary(stall_limit_s=self._settings.stall_limit_s)],
            options=(*_SERVER_OPTIONS, *_keepalive(self._settings.stall_limit_s)),
        )
        tts_pb2_grpc.add_TextToSpeechServicer_to_server(
            TextToSpeechServicer(
                self._settings, self._fleet, self._directory, self._synthesizer, self._uploads
            ),
            server,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            names = (_TTS_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        try:
            self._port = server.add_insecure_port(self._settings.listen)
        except RuntimeError as error:
            raise ConfigError(
                f"can't listen on {self._settings.listen}: the address is in use or not this "
                "machine's; choose another with --listen"
            ) from error
        return server

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
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if self._fleet.speaking else response.NOT_SERVING
        for service in ("", _TTS_SERVICE):
            await self._health.set(service, status)
        if self._fleet.ready and self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None
            default_voice = self._settings.default_voice
            if default_voice and default_voice not in self._directory.catalog:
                self._fatal.set_exception(
                    ConfigError(f"default_voice: no engine has a voice {default_voice!r}")
                )
                return
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
            count = 0 if engine.description is None else len(engine.description.voices)
            engines.append(f"{engine.engine}: {count} voice{'' if count == 1 else 's'}")
        return f"{', '.join(engines)}; {time.monotonic() - self._began_s:.1f} s"


async def serve(settings: Settings, *, on_ready: Callable[[int, str], None]) -> None:
    """Serves until SIGTERM or SIGINT. See `Server`."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        structlog.get_logger().info("stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
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
        await Server(settings, store, _open_cache(settings), on_ready=on_ready).run(stop)


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


def _keepalive(stall_limit_s: float) -> tuple[tuple[str, int], ...]:
    """Options that notice connections whose other end is gone.

    gRPC gives the kernel the timeout as TCP_USER_TIMEOUT, too (gRFC A18), and Linux then also ends
    a connection whose reader is slow, though it does read. Who is too slow is for `stall_limit_s`
    to say, with a status, so the timeout is far longer.
    """
    return (
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", round((stall_limit_s + _PEER_TIMEOUT_S) * 1000)),
    )
