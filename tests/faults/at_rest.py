"""What a server holds, seen from outside, and whether it holds no more than it did before.

Of the front and its workers the kernel tells descriptors, threads, children and memory; the front's
metrics tell the calls in progress, the renders, and the places that an engine has given away.
"""

import os
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.server_process import ServerProcess

__all__ = ["QUIET_METRICS", "Holdings", "at_rest", "holdings", "spooled_files"]

# What a server needs in its environment to be looked at.
QUIET_METRICS = {"TTS_METRICS_LISTEN": "127.0.0.1:0"}

_SERIES = re.compile(r"^(tts_[a-z_]+)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
# The front's pools grow to their bounds and stay: asyncio's own to cores + 4, those that encode to
# the cores, the cache's to 5. gRPC keeps threads of its own that come with work and go some time
# after it.
_THREAD_SLACK = 4 + 2 * (os.cpu_count() or 1) + 5 + 4
# Each thread that reads the cache has the three files of its database open, for good.
_FRONT_FD_SLACK = 9
# What allocators keep of what was freed. Growth over many rounds is another matter: see the
# slopes of `make soak`.
_MEMORY_SLACK_MB = 48.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a server holds at a moment.

    Attributes:
        calls: calls in progress and streams that are open.
        renders: what workers are asked to speak.
        places: calls that an engine is at work for, and those that wait for one.
        front_fds, front_threads, front_mb: of the front; resident memory.
        children: processes below the front: workers, and sandboxes while they live.
        worker_fds, worker_threads, worker_mb: of all workers.
        worker_folders: `tts-worker-*` in the front's folder for temporary files.
        spooled: files of uploads on their way, which have no name.
        staged: what lies in the voice store's staging folder.
    """

    calls: int
    renders: int
    places: int
    front_fds: int
    front_threads: int
    front_mb: float
    children: int
    worker_fds: int
    worker_threads: int
    worker_mb: float
    worker_folders: int
    spooled: int
    staged: int

    def excess(
        self, baseline: "Holdings", memory_slack_mb: float = _MEMORY_SLACK_MB
    ) -> dict[str, tuple[float, float]]:
        """What is more than it was, beyond what is said to breathe: before and now, by name."""
        before, now = asdict(baseline), asdict(self)
        return {
            name: (before[name], now[name])
            for name in now
            if now[name] > before[name] + _slack(name, memory_slack_mb)
        }


def _slack(name: str, memory_slack_mb: float) -> float:
    if name.endswith("_threads"):
        return _THREAD_SLACK
    if name == "front_fds":
        return _FRONT_FD_SLACK
    return memory_slack_mb if name.endswith("_mb") else 0.0


def holdings(server: ServerProcess) -> Holdings:
    """Looks at a server now.

    Raises:
        psutil.NoSuchProcess: a process ended meanwhile, or no worker is ready.
    """
    front = psutil.Process(server.process.pid)
    children = front.children(recursive=True)
    workers = [child for child in children if "tts_service.engines.worker" in child.cmdline()]
    figures = _figures(server)
    if not figures["tts_worker_up"]:
        raise psutil.NoSuchProcess(front.pid, msg="no worker is ready")
    return Holdings(
        calls=int(figures["tts_calls_in_progress"] + figures["tts_streams_open"]),
        renders=int(figures["tts_renders_in_progress"]),
        places=int(figures["tts_admission_active"] + figures["tts_admission_queued"]),
        front_fds=front.num_fds(),
        front_threads=front.num_threads(),
        front_mb=front.memory_info().rss / 1e6,
        children=len(children),
        worker_fds=sum(worker.num_fds() for worker in workers),
        worker_threads=sum(worker.num_threads() for worker in workers),
        worker_mb=sum(worker.memory_info().rss for worker in workers) / 1e6,
        worker_folders=len(list(_temporary_folder(front).glob("tts-worker-*"))),
        spooled=spooled_files(server),
        staged=len(list((server.data_dir / "voices" / "staging").glob("*"))),
    )


def at_rest(
    server: ServerProcess,
    baseline: Holdings | None = None,
    *,
    within_s: float = 20.0,
    memory_slack_mb: float = _MEMORY_SLACK_MB,
) -> Holdings:
    """Waits until a server does nothing and holds no more than `baseline`; returns what it holds.

    Without a baseline, until it holds the same for half a second.

    Raises:
        AssertionError: it holds more, and goes on to.
    """
    end_s = time.monotonic() + within_s
    calm_since_s, last = time.monotonic(), None
    while True:
        now = _look(server)
        if now is not None and baseline is not None and not now.excess(baseline, memory_slack_mb):
            return now
        if now is None or last is None or now.excess(last) or last.excess(now):
            calm_since_s = time.monotonic()
        elif baseline is None and time.monotonic() - calm_since_s >= 0.5:
            return now
        last = now
        if time.monotonic() > end_s:
            if now is None or baseline is None:
                excess: object = "it never rests"
            else:
                excess = now.excess(baseline, memory_slack_mb)
            raise AssertionError(f"not at rest after {within_s:g} s: {excess}")
        time.sleep(_LOOK_EVERY_S)


def _look(server: ServerProcess) -> Holdings | None:
    """What it holds; None while a worker is missing or coming."""
    try:
        now = holdings(server)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, OSError):
        return None
    return now if now.worker_folders and now.worker_fds else None


def _figures(server: ServerProcess) -> Mapping[str, float]:
    """The server's metrics by name, those of all labels added up."""
    if not server.metrics_url:
        raise RuntimeError("the server has no metrics; start it with QUIET_METRICS")
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        page = response.read().decode()
    figures: defaultdict[str, float] = defaultdict(float)
    for name, value in _SERIES.findall(page):
        figures[name] += float(value)
    assert "tts_worker_up" in figures, "no tts_worker_up among the metrics"
    return figures


def _temporary_folder(front: psutil.Process) -> Path:
    environment: Mapping[str, str] = front.environ()
    return Path(environment.get("TMPDIR", "/tmp"))


def spooled_files(server: ServerProcess) -> int:
    """Files of uploads on their way. They have no name, only the front's descriptor."""
    spool, count = str(server.data_dir / "spool"), 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = os.readlink(link)
            count += target.startswith(spool) and target.endswith(" (deleted)")
    return count
