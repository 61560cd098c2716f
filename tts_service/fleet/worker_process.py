"""One worker as an operating-system process."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

__all__ = ["WorkerCommand", "WorkerProcess"]


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to start a worker.

    Attributes:
        engine: name of the engine that it hosts.
        options: the engine's options.
        log_level: as the front's.
        log_format: as the front's.
        trace_endpoint: as the front's; empty: the worker records no spans.
        python: interpreter that has the engine's packages; an engine may live in a virtual
            environment of its own.
    """

    engine: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    log_level: str = "info"
    log_format: str = "auto"
    trace_endpoint: str = ""
    python: str = sys.executable

    def arguments(self, listen: str) -> list[str]:
        """The command line of a worker that listens on this gRPC address."""
        options = [f"--option={name}={value}" for name, value in self.options.items()]
        return [
            *(self.python, "-m", "tts_service.engines.worker", "--exit-with-parent"),
            *(f"--engine={self.engine}", f"--listen={listen}"),
            *(f"--log-level={self.log_level}", f"--log-format={self.log_format}"),
            *([f"--trace-endpoint={self.trace_endpoint}"] if self.trace_endpoint else []),
            *options,
        ]


class WorkerProcess:
    """A running worker, and the private folder that its socket lies in.

    The worker's standard input is a pipe whose other end this process holds. When this
    process ends, in whatever way, the pipe closes and the worker ends too.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @classmethod
    async def start(cls, command: WorkerCommand) -> "WorkerProcess":
        """Starts a worker. It is not ready yet: its health says when.

        Raises:
            OSError: the interpreter can't be run.
        """
        # Under the system's temporary folder, since a socket's path holds 107 bytes at most.
        folder = Path(tempfile.mkdtemp(prefix="tts-worker-"))
        try:
            process = await asyncio.create_subprocess_exec(
                *command.arguments(f"unix:{folder / 'socket'}"), stdin=asyncio.subprocess.PIPE
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(process, folder)

    @property
    def address(self) -> str:
        """gRPC address of the worker."""
        return f"unix:{self._folder / 'socket'}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Waits for the end; returns the exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """Has the worker end, kills it after `grace_s`, and removes its folder."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), grace_s)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
