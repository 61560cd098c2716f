"""The sandbox from inside.

    python -I -m audio_codec.sandbox_child CHANNEL FUNCTION [WARM_UP]

It imports the function, says that it is ready, takes one job with its files, bars every door,
calls the function and answers. Only `Sandbox` starts it.
"""

import importlib
import json
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from audio_codec.sandbox import FRAME_LENGTH, MAX_FILES

_MAX_TRACEBACK_CHARACTERS = 4000


def main(arguments: list[str]) -> None:
    """Serves one job on the socket with the given number."""
    channel_number, function_name, *warm_up_name = arguments
    with socket.socket(fileno=int(channel_number)) as channel:
        try:
            function = _find(function_name)
            for name in warm_up_name:
                _find(name)()
        except Exception:
            _send(channel, _failure())
            return
        _send(channel, {"ready": True})
        job, limits, files = _receive_job(channel)
        threading.Thread(target=_exit_with_parent, args=(channel,), daemon=True).start()
        _bar_doors(cpu_s=limits["cpu_s"], memory_bytes=limits["memory_bytes"])
        blobs: list[bytes] = []
        try:
            report, blobs = function(job, files)
            _send(channel, {"report": report, "blob_bytes": [len(blob) for blob in blobs]})
        except Exception as error:
            blobs = []
            _send(channel, _refusal(error) or _failure())
        for blob in blobs:
            channel.sendall(blob)
        # Nothing is left to clean up, and native libraries take their time over it.
        os._exit(0)


def _find(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _receive_job(
    channel: socket.socket,
) -> tuple[dict[str, object], dict[str, int], list[BinaryIO]]:
    head, numbers, _, _ = socket.recv_fds(channel, FRAME_LENGTH.size, MAX_FILES)
    files: list[BinaryIO] = [os.fdopen(number, "rb") for number in numbers]
    if len(head) < FRAME_LENGTH.size:
        sys.exit(0)  # the parent changed its mind
    (length,) = FRAME_LENGTH.unpack(head)
    body = bytearray()
    while len(body) < length:
        part = channel.recv(length - len(body))
        if not part:
            sys.exit(0)
        body += part
    frame = json.loads(body)
    if frame["files"] != len(files):
        raise OSError("descriptors were lost on the way")
    return frame["job"], frame["limits"], files


def _exit_with_parent(channel: socket.socket) -> None:
    """The parent sends nothing after the job: what ends this wait is its end."""
    channel.recv(1)
    os._exit(1)


def _bar_doors(*, cpu_s: int, memory_bytes: int) -> None:
    """Gives up what a decoder has no business with. Nothing gets it back but root's powers."""
    used_s = int(time.process_time()) + 1
    # First SIGXCPU, whose name tells why, and a second later SIGKILL.
    _limit(resource.RLIMIT_CPU, used_s + cpu_s, used_s + cpu_s + 1)
    _limit(resource.RLIMIT_CORE, 0)
    # Not a byte into a file, not even into one of the job's.
    _limit(resource.RLIMIT_FSIZE, 0)
    # Neither thread nor process. Root is exempt, for whom the lack of descriptors stands in.
    _limit(resource.RLIMIT_NPROC, 0)
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, _address_space_bytes() + memory_bytes)
    # Descriptors that are open stay so, and no number is left for another one.
    _limit(resource.RLIMIT_NOFILE, 0)


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Sets both limits, `hard` to `soft` unless it is given, below what there is already."""
    _, most = resource.getrlimit(kind)
    limits = (soft, soft if hard is None else hard)
    if most != resource.RLIM_INFINITY:
        limits = (min(limits[0], most), min(limits[1], most))
    resource.setrlimit(kind, limits)


def _address_space_bytes() -> int:
    """What is mapped now (proc_pid_statm(5), first field)."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _refusal(error: Exception) -> dict[str, object] | None:
    reason, message = getattr(error, "reason", None), getattr(error, "message", None)
    if not isinstance(reason, str) or not isinstance(message, str):
        return None
    return {"refused": {"reason": reason, "message": message}}


def _failure() -> dict[str, object]:
    # Without the sources' lines, which can't be read any more. The end of it says most.
    return {"failed": traceback.format_exc()[-_MAX_TRACEBACK_CHARACTERS:]}


def _send(channel: socket.socket, frame: Mapping[str, object]) -> None:
    # NaN is no JSON, and the other side has a right to JSON.
    body = json.dumps(frame, allow_nan=False).encode()
    channel.sendall(FRAME_LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main(sys.argv[1:])
