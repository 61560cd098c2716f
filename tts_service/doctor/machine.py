"""What the operating system lends: open files, sockets, a clock, memory."""

import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..config import Settings
from ..models.progress import size
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_clock", "look_at_memory", "look_at_open_files", "look_at_sockets"]

# A front with one worker has some 60 open; each caller that is connected is one more.
_FRONT_FILES = 128
_ENGINE_FILES = 32
_UPLOAD_FILES = 16
_CALLER_FILES = 256

# Nobody ran this program before.
_FIRST_DAY_S = 1_767_225_600.0  # 2026-01-01
_CLOCK_SLACK_S = 5.0

_MIB = 1 << 20
_FRONT_BYTES = 150 * _MIB
_PIPER_VOICE_BYTES = 250 * _MIB
_PIPER_BYTES = 150 * _MIB
_XTTS_BYTES = 1024 * _MIB
_XTTS_SLOT_BYTES = 258 * _MIB


def look_at_open_files(settings: Settings) -> Iterator[Finding]:
    """Compares the limit with what the server opens."""
    least = (
        _FRONT_FILES
        + _ENGINE_FILES * len(settings.engines)
        + _UPLOAD_FILES * settings.uploads.max_concurrent
    )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        yield ok("open files", "no limit")
    elif limit < least:
        yield fail(
            "open files",
            f"the limit is {limit}, the server alone takes {least}",
            f"ulimit -n {least + 16 * _CALLER_FILES}, or LimitNOFILE of its unit",
        )
    elif limit < least + _CALLER_FILES:
        yield warn(
            "open files",
            f"the limit is {limit}: enough for {limit - least} callers at once",
            f"ulimit -n {least + 16 * _CALLER_FILES}, or LimitNOFILE of its unit",
        )
    else:
        yield ok("open files", f"the limit is {limit}: enough for {limit - least} callers at once")


def look_at_sockets(settings: Settings) -> Iterator[Finding]:
    """Makes a socket as each worker has one."""
    del settings
    place = tempfile.gettempdir()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="tts-worker-") as folder,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            probe.bind(str(Path(folder) / "socket"))
    except OSError as error:
        reason = error.strerror or str(error)
        yield fail("sockets", f"workers can't have theirs in {place}: {reason}", "set TMPDIR")
    else:
        yield ok("sockets", f"workers can have theirs in {place}")


def look_at_clock(settings: Settings) -> Iterator[Finding]:
    """Compares the clock with the calendar, and with that of the disk."""
    now_s = time.time()
    if now_s < _FIRST_DAY_S:
        yield fail("clock", f"it says {_date(now_s)}", "set it; certificates and the cache need it")
        return
    try:
        folder = settings.data_dir if settings.data_dir.is_dir() else None
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            skew_s = os.stat(file.name).st_mtime - now_s
    except OSError:  # said already
        skew_s = 0.0
    if abs(skew_s) > _CLOCK_SLACK_S:
        yield warn(
            "clock",
            f"the disk of data_dir is {skew_s:+.0f} s off",
            "let both machines ask the same time server",
        )
    else:
        yield ok("clock", f"it says {_date(now_s)}")


def look_at_memory(settings: Settings) -> Iterator[Finding]:
    """Compares what is free with what the engines grow to."""
    least, most = _memory_needs(settings)
    free = _available_bytes()
    if free is None:
        yield warn("memory", "how much is free can't be told", f"have {size(most)} for it")
        return
    found = f"{size(free)} available; {size(least)} to start, {size(most)} when all is in use"
    if free < least:
        yield fail("memory", found, "make room, or let fewer engines run")
    elif free < most:
        yield warn("memory", found, "lower piper.loaded_voices_limit or xtts.slots, or make room")
    else:
        yield ok("memory", found)


def _memory_needs(settings: Settings) -> tuple[int, int]:
    """To start, and when all is in use; without what a graphics card holds."""
    least = _FRONT_BYTES
    most = least + settings.uploads.max_concurrent * settings.uploads.prepare_memory_bytes
    if settings.cache.enabled:
        most += settings.cache.memory_limit_bytes
    if "piper" in settings.engines:
        least += _PIPER_BYTES + _PIPER_VOICE_BYTES
        most += _PIPER_BYTES + _PIPER_VOICE_BYTES * settings.piper.loaded_voices_limit
    if "xtts" in settings.engines:
        model = Path(settings.engine_options("xtts")["checkpoint_dir"]) / "model.pth"
        need = _XTTS_BYTES + (model.stat().st_size if model.is_file() else 0)
        if settings.xtts.device == "cpu":
            need += _XTTS_SLOT_BYTES * settings.xtts.slots
        least, most = least + need, most + need
    return least, most


def _available_bytes() -> int | None:
    """Of the machine, or of the container if that is less."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
        group = Path("/sys/fs/cgroup")
        limits.append(
            int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        )
    except (OSError, ValueError):  # no Linux, no container, or "max"
        pass
    return min(limits, default=None)


def _date(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))
