"""A process with mounts of its own, where the kernel lets one have them."""

import subprocess
from pathlib import Path

import pytest

__all__ = ["needs_own_mounts", "with_own_mounts"]

_UNSHARE = ("unshare", "--map-root-user", "--mount")


def with_own_mounts(script: str, disk: Path, *command: str) -> list[str]:
    """The command line that mounts something at `disk` and then runs a command there.

    Args:
        script: lines of a shell that mount it; `$0` is the disk.
        command: gets the disk as its last argument.
    """
    return [*_UNSHARE, "sh", "-c", f'{script} && exec "$@" "$0"', str(disk), *command]


def _may_mount() -> bool:
    probe = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False)
    return probe.returncode == 0


# Where a process may not mount, limits on files alone have to do.
needs_own_mounts = pytest.mark.skipif(
    not _may_mount(), reason="this process may not have mounts of its own"
)
