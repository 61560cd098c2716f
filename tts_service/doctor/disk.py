"""The folder for all that the server keeps: can be written, holds what is written, has room."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..config import Settings
from ..models.progress import size
from .finding import Finding, fail, ok, warn

__all__ = ["look_at_disk"]

_SLOW_SYNC_S = 1.0
_LEAST_FREE_BYTES = 64 << 20


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Looks at `data_dir`, and at `cache.dir` where that is another place."""
    folder = settings.data_dir
    place = _nearest(folder)
    is_usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    if place != folder and not is_usable:
        yield fail(
            "data folder",
            f"{folder} can't be made in {place}",
            "see data_dir, or make that writable",
        )
        return
    # Unless the folder is there nothing is left behind in its stead.
    yield _writing(folder, place)
    owner = place.stat().st_uid
    if owner != os.geteuid():
        yield warn(
            "data folder",
            f"{place} belongs to user {owner}, and this is user {os.geteuid()}",
            "run the doctor as the server's user",
        )
    yield from _room(settings, place)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there, be it a folder or not."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    return folder if place == folder.absolute() else place


def _writing(folder: Path, place: Path) -> Finding:
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return fail(
            "data folder",
            f"{place} can't be written: {error.strerror}",
            "see data_dir, or chown it",
        )
    took_s = time.monotonic() - began_s
    found = f"{folder} can be written" if place == folder else f"{folder} will be made"
    if took_s > _SLOW_SYNC_S:
        return warn(
            "data folder",
            f"{found}, but takes {took_s:.1f} s to be sure of it",
            "uploads wait for the disk; use a quicker one",
        )
    return ok("data folder", f"{found} and synced, in {took_s * 1000:.0f} ms")


def _room(settings: Settings, place: Path) -> Iterator[Finding]:
    uploads = settings.uploads
    wanted: dict[int, list[tuple[Path, int]]] = {}
    needs = [(place, uploads.max_upload_bytes * uploads.max_concurrent)]
    if settings.cache.enabled:
        cache = settings.cache.folder(settings.data_dir)
        needs.append((_nearest(cache), settings.cache.size_limit_bytes - _size_bytes(cache)))
    for where, need_bytes in needs:
        wanted.setdefault(where.stat().st_dev, []).append((where, max(0, need_bytes)))
    for same_disk in wanted.values():
        where, need_bytes = same_disk[0][0], sum(need for _, need in same_disk)
        free_bytes = shutil.disk_usage(where).free
        found = f"{size(free_bytes)} free at {where}, {size(need_bytes)} may yet be kept"
        if free_bytes < _LEAST_FREE_BYTES:
            yield fail("room", found, "make room")
        elif free_bytes < need_bytes:
            yield warn("room", found, "make room, or lower cache.size_limit_bytes")
        else:
            yield ok("room", found)


def _size_bytes(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).lstat().st_size
            except FileNotFoundError:  # a running server drops what is old
                continue
    return total
