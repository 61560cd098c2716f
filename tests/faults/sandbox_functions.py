"""What a hostile upload might do once it has taken a decoder over, one function each."""

import ctypes
import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import av

from audio_codec import DecodeError, DecodeFailure

Answer = tuple[dict[str, object], list[bytes]]


def read_files(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return {"job": job, "threads": os.environ.get("OMP_NUM_THREADS")}, [f.read() for f in files]


def refuse(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    raise DecodeError(DecodeFailure.TOO_LONG, "The audio is longer than 3 s.")


def refuse_at_length(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    raise DecodeError(DecodeFailure.TOO_LONG, "x" * 100_000)


def fail(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    raise LookupError("a bug of ours")


def try_doors(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    """Tries each way out. Reports what came of it by errno's name, "open" where it worked."""
    path = str(job["canary"])

    def load() -> object:
        import colorsys  # not loaded by anything here

        return colorsys

    attempts: dict[str, Callable[[], object]] = {
        "read": Path(path).read_bytes,
        "read, low level": lambda: os.open(path, os.O_RDONLY),
        "list": lambda: os.listdir("/"),
        "create": Path(f"{path}.new").touch,
        "write into the upload": lambda: os.write(files[0].fileno(), b"overwritten"),
        "duplicate": lambda: os.dup(0),
        "socket": socket.socket,
        "pipe": os.pipe,
        "memfd": lambda: os.memfd_create("x") if sys.platform == "linux" else os.pipe(),
        "subprocess": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
        "libav's file protocol": lambda: av.open(path),
        "libav's pipe protocol": lambda: av.open("pipe:0", format="flac"),
        "libav's network": lambda: av.open("http://127.0.0.1:1/x.flac"),
        "import": load,
    }
    outcomes: dict[str, object] = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            outcomes[name] = "open"
        except (OSError, ImportError, ValueError, av.FFmpegError) as error:
            number = getattr(error, "errno", None)
            outcomes[name] = errno.errorcode.get(number or 0, type(error).__name__)
    return {"outcomes": outcomes, "environment": dict(os.environ), "folder": os.getcwd()}, []


def allocate(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    bytearray(3 * 1024**3)
    return {}, []


def loop(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    while True:
        pass


def sleep(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    time.sleep(60)
    return {}, []


def abort(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    os.abort()


def crash(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    ctypes.string_at(0)
    return {}, []


def leave(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    os._exit(0)


def recurse(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return recurse(job, files)


def answer_at_length(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return {}, [bytes(100_000_000)]


def report_at_length(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return {"text": "x" * 100_000_000}, []


def answer_in_pieces(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return {}, [b""] * 100_000


def report_nan(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    return {"level": float("nan")}, []


def write_raw(job: dict[str, object], files: list[BinaryIO]) -> Answer:
    """Writes whatever the job says to the parent, past everything."""
    channel_number = int(sys.argv[1])
    os.write(channel_number, bytes.fromhex(str(job["hex"])))
    if job["leave"]:
        os._exit(0)
    time.sleep(60)
    return {}, []


def fail_early() -> None:
    raise LookupError("a part is missing")


def leave_early() -> None:
    os._exit(3)


def dawdle() -> None:
    time.sleep(60)


def remember() -> None:
    Path(os.devnull).read_bytes()
    os.environ["WARM"] = "yes"
