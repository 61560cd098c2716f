"""Where and with what a benchmark ran."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Machine"]

_PACKAGES = ("tts-service", "grpcio", "onnxruntime", "piper-tts", "wyoming-piper", "av", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and what is installed on it.

    Attributes:
        cpu: the processor's model, as the system calls it.
        cores: that this process may run on.
        memory_gib: in all.
        system: of operation, and its version.
        python: its version.
        packages: versions of what is measured, by name; those that aren't installed are missing.
        date: of the run, UTC, ISO 8601.
        commit: of the working tree, with `+` if it has changes; empty outside of git.
    """

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    date: str
    commit: str

    @classmethod
    def here(cls) -> "Machine":
        """This machine, now."""
        return cls(
            cpu=_cpu(),
            cores=_cores(),
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            packages=dict(_packages()),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            commit=_commit(),
        )

    def __str__(self) -> str:
        """In a line, as a caption names it."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{self.cpu}, {cores}, {self.memory_gib:g} GiB, Python {self.python}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # macOS has none
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _packages() -> list[tuple[str, str]]:
    found = []
    for name in _PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
