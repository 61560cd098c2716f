"""Runs a function over untrusted bytes in a process of its own.

    async with await Sandbox.start("voice_work:measure", SandboxLimits()) as sandbox:
        ...  # the process imports while the bytes arrive
        result = await sandbox.run({"language": "en"}, [spooled_file])

The process begins as a fresh interpreter without this one's environment. Its only way out is one
socket. Before it looks at the files it gives up opening any descriptor: no file, socket, pipe or
process (see `sandbox_child`). The kernel bounds its CPU time and memory; from this side its wall
time and each length in its answer are bounded, and the answer is believed no more than the
upload was.

This contains a decoder that crashes, hangs, grows or is talked into opening something. It is no
jail for whoever gets native code to run inside: that takes a container around the service.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from audio_codec.errors import SandboxDiedError, SandboxRefusedError, SandboxStartError

__all__ = ["FRAME_LENGTH", "MAX_FILES", "Sandbox", "SandboxLimits", "SandboxResult"]

_Result = TypeVar("_Result")

# What crosses the socket, either way, is JSON behind its length.
FRAME_LENGTH = struct.Struct("!I")
# Descriptors that go with one message; Linux takes 253, macOS 254.
MAX_FILES = 64

# For the child to end by itself once its end of the socket is closed, so that its exit status
# tells what happened.
_EXIT_GRACE_S = 1.0
_MAX_REASON_CHARACTERS = 100
_MAX_MESSAGE_CHARACTERS = 1000
_MAX_FAILURE_CHARACTERS = 4000
# Threads would each add their stack and arena to the address space, which is limited.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",  # holds for who asks for threads by number, too
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a sandbox may use.

    Attributes:
        cpu_s: CPU time of the run, on all cores together.
        wall_s: time of the run.
        start_s: time that the process may take to import before `run` gives up on it.
        memory_bytes: address space beyond what the imports took. macOS does not keep to it.
        max_report_bytes: of the report as JSON.
        max_blob_bytes: of all blobs together.
        max_blobs: their number.
    """

    cpu_s: int = 20
    wall_s: float = 30.0
    start_s: float = 30.0
    memory_bytes: int = 1024 * 1024 * 1024
    max_report_bytes: int = 256 * 1024
    max_blob_bytes: int = 16 * 1024 * 1024
    max_blobs: int = 16


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What the function returned. Only the sizes have been checked.

    Attributes:
        report: any JSON object.
        blobs: its bulk, in the function's order.
    """

    report: dict[str, object]
    blobs: list[bytes]


class _ChannelClosedError(Exception):
    """The child's end of the socket is gone."""


class _MalformedAnswerError(Exception):
    """The child sent what it may not."""


class Sandbox:
    """One process, for one run. `start` makes it; `close`, or leaving `async with`, ends it."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: socket.socket, limits: SandboxLimits
    ) -> None:
        self._process = process
        self._channel = channel
        self._limits = limits
        self._used = False

    @classmethod
    async def start(
        cls, function: str, limits: SandboxLimits, *, warm_up: str | None = None
    ) -> Self:
        """Starts the process and does not wait for its imports.

        Args:
            function: "package.module:function". It is called with the job and the files,
                `(dict, list[BinaryIO])`, and returns a report, which JSON can express, and
                blobs: `(dict, list[bytes])`. It can import nothing and open nothing, so that
                its module does that. An exception with strings `reason` and `message` is a
                refusal, any other a failure.
            limits: what the process may use.
            warm_up: a function without arguments, named likewise. It is called before the
                limits hold and loads what the other one needs.

        Raises:
            OSError: no process can be started.
        """
        channel, childs_channel = socket.socketpair()
        try:
            channel.setblocking(False)
            with childs_channel:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-m", "audio_codec.sandbox_child"),
                    *(str(childs_channel.fileno()), function, *([warm_up] if warm_up else [])),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=[childs_channel.fileno()],
                    env=_ENVIRONMENT,
                    cwd="/",
                    # A terminal's Ctrl-C is for the front, which ends its children itself.
                    start_new_session=True,
                )
        except BaseException:
            channel.close()
            raise
        return cls(process, channel, limits)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def run(
        self, job: Mapping[str, object], files: Sequence[int | BinaryIO] = ()
    ) -> SandboxResult:
        """Calls the function once. The process has ended when this returns or raises.

        Args:
            job: what JSON can express.
            files: descriptors or open files, at most `MAX_FILES`. The function gets its own
                file objects for them. They share their position with the originals.

        Raises:
            SandboxRefusedError: the function refused its input.
            SandboxStartError: the process ended before it took the job, or took too long to import.
            SandboxDiedError: no answer came, or none that may be.
        """
        if self._used:
            raise RuntimeError("a sandbox runs once")
        if len(files) > MAX_FILES:
            raise ValueError(f"at most {MAX_FILES} files")
        self._used = True
        try:
            try:
                await self._told(self._exchange_ready())
            except SandboxDiedError as error:
                raise SandboxStartError(str(error)) from None
            return await self._told(self._exchange_job(job, files))
        finally:
            await self.close()

    async def close(self) -> None:
        """Kills the process if it still runs, and reaps it. May be called more than once."""
        self._used = True
        try:
            if self._process.returncode is None:
                # The group, because it leads one.
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        finally:
            self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _told(self, exchange: Awaitable[_Result]) -> _Result:
        """Awaits an exchange, and tells how the process ended in its midst."""
        try:
            return await exchange
        except _ChannelClosedError:
            raise SandboxDiedError(f"the sandbox {await self._ending()}") from None
        except _MalformedAnswerError as error:
            raise SandboxDiedError(f"the sandbox sent a malformed answer: {error}") from None

    async def _exchange_ready(self) -> None:
        try:
            async with asyncio.timeout(self._limits.start_s):
                if "ready" not in await self._receive_frame():
                    raise _MalformedAnswerError("no sign of readiness")
        except TimeoutError:
            raise SandboxDiedError(
                f"the sandbox was not ready within {self._limits.start_s:g} s"
            ) from None

    async def _exchange_job(
        self, job: Mapping[str, object], files: Sequence[int | BinaryIO]
    ) -> SandboxResult:
        try:
            async with asyncio.timeout(self._limits.wall_s):
                await self._send_job(job, files)
                answer = await self._receive_frame()
                report = answer.get("report")
                if not isinstance(report, dict):
                    raise _MalformedAnswerError("no report")
                sizes = _checked_sizes(answer.get("blob_bytes"), self._limits)
                return SandboxResult(report, [await self._receive(size) for size in sizes])
        except TimeoutError:
            raise SandboxDiedError(
                f"the sandbox took longer than {self._limits.wall_s:g} s"
            ) from None

    async def _send_job(self, job: Mapping[str, object], files: Sequence[int | BinaryIO]) -> None:
        frame = {"job": dict(job), "files": len(files), "limits": asdict(self._limits)}
        body = json.dumps(frame).encode()
        numbers = [file if isinstance(file, int) else file.fileno() for file in files]
        try:
            # The descriptors travel with the length: an empty socket always has room for it.
            socket.send_fds(self._channel, [FRAME_LENGTH.pack(len(body))], numbers)
            await asyncio.get_running_loop().sock_sendall(self._channel, body)
        except ConnectionError:
            raise _ChannelClosedError from None

    async def _receive_frame(self) -> dict[str, object]:
        (length,) = FRAME_LENGTH.unpack(await self._receive(FRAME_LENGTH.size))
        if length > self._limits.max_report_bytes:
            raise _MalformedAnswerError(f"a report of {length} bytes")
        try:
            answer = json.loads(await self._receive(length))
        except (ValueError, RecursionError):
            raise _MalformedAnswerError("not JSON") from None
        if not isinstance(answer, dict):
            raise _MalformedAnswerError("no JSON object")
        if "refused" in answer:
            raise _refusal(answer["refused"])
        if "failed" in answer:
            raise SandboxDiedError(
                f"the sandbox failed: {str(answer['failed'])[:_MAX_FAILURE_CHARACTERS]}"
            )
        return answer

    async def _receive(self, count: int) -> bytes:
        """Exactly so many bytes. The caller has bounded the number."""
        loop = asyncio.get_running_loop()
        buffer = bytearray(count)
        rest = memoryview(buffer)
        while rest:
            try:
                received = await loop.sock_recv_into(self._channel, rest)
            except ConnectionError:
                received = 0
            if not received:
                raise _ChannelClosedError
            rest = rest[received:]
        return bytes(buffer)

    async def _ending(self) -> str:
        """How the process ended, in words."""
        try:
            status = await asyncio.wait_for(self._process.wait(), _EXIT_GRACE_S)
        except TimeoutError:
            return "closed its channel"
        if status < 0:
            return f"was ended by {_signal_name(-status)}"
        return f"ended with status {status}"


def _refusal(refused: object) -> SandboxRefusedError | _MalformedAnswerError:
    match refused:
        case {"reason": str(reason), "message": str(message)}:
            return SandboxRefusedError(
                reason[:_MAX_REASON_CHARACTERS], message[:_MAX_MESSAGE_CHARACTERS]
            )
        case _:
            return _MalformedAnswerError("a refusal without a reason")


def _checked_sizes(sizes: object, limits: SandboxLimits) -> list[int]:
    if not isinstance(sizes, list) or len(sizes) > limits.max_blobs:
        raise _MalformedAnswerError("no or too many blobs")
    checked = [size for size in sizes if type(size) is int and size >= 0]
    if len(checked) != len(sizes):
        raise _MalformedAnswerError("sizes that are none")
    if sum(checked) > limits.max_blob_bytes:
        raise _MalformedAnswerError(f"blobs of {sum(checked)} bytes")
    return checked


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
