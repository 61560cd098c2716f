"""The real server as a process of its own, for tests and benchmarks."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil

from protos.tts.v1 import tts_pb2_grpc

_METRICS_URL = re.compile(r'"url": "(http://[^"]+/metrics)"')
_READY = re.compile(r"tts-service ready on (\S+) \(")


class ServerProcess:
    """A running `tts-service serve`.

    Attributes:
        address: where it listens.
        ready_line: what it printed when it was ready.
        data_dir: its data folder.
    """

    def __init__(
        self, process: subprocess.Popen[str], ready_line: str, log: Path, data_dir: Path
    ) -> None:
        self.process = process
        self.data_dir = data_dir
        self.ready_line = ready_line
        match = _READY.match(ready_line)
        if match is None:
            raise RuntimeError(f"not ready: {ready_line!r}\n{log.read_text()}")
        self.address = match[1]
        self._log = log

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        return self._log.read_text()

    def times_logged(self, reason: str) -> int:
        """How many calls it has logged as ended for a reason, each just after its caller knew."""
        return self.log.count(f'"reason": "{reason}"')

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return psutil.Process(self.process.pid).children()

    def worker(self, engine: str) -> psutil.Process:
        """The worker of an engine."""
        (worker,) = (one for one in self.workers() if f"--engine={engine}" in one.cmdline())
        return worker

    @property
    def metrics_url(self) -> str:
        """Where it serves its metrics; "" if it doesn't, or doesn't yet."""
        match = _METRICS_URL.search(self.log)
        return match[1] if match else ""

    @contextmanager
    def stub(self) -> Iterator[tts_pb2_grpc.TextToSpeechStub]:
        """A generated stub on a channel of its own."""
        with grpc.insecure_channel(self.address) as channel:
            yield tts_pb2_grpc.TextToSpeechStub(channel)


@contextmanager
def running_server(
    folder: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    keeps_speech: bool = False,
    wait: bool = True,
) -> Iterator[ServerProcess]:
    """Starts a server on a free port, and ends it when the context is left.

    Unless it `keeps_speech`, it has no cache: who asks twice is answered by the engine twice.
    Without `wait` it isn't waited for, and listens on a unix socket in `folder`.
    """
    log = folder / "server.log"
    listen = "127.0.0.1:0" if wait else f"unix:{folder}/socket"
    command = [sys.executable, "-m", "tts_service", "serve", "--listen", listen]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command, "--data-dir", str(folder / "data"), *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={
                **os.environ,
                "TTS_CACHE__ENABLED": str(keeps_speech).lower(),
                **(environment or {}),
            },
        ) as process,
    ):
        assert process.stdout is not None
        try:
            ready = process.stdout.readline() if wait else f"tts-service ready on {listen} ("
            yield ServerProcess(process, ready, log, folder / "data")
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
