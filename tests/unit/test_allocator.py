"""What is freed goes back to the kernel, wherever it lay."""

import platform
import subprocess
import sys

import pytest

# Blocks below what is mapped by itself, each beside one that lives on.
_BETWEEN = """
import asyncio
import time
import psutil
from tts_service.ops.allocator import Trim, return_freed_memory, trim_freed_memory

def resident_mb():
    return psutil.Process().memory_info().rss / 1e6

async def by_task():
    trimming = asyncio.create_task(trim_freed_memory(every_s=0.01))
    await asyncio.sleep(0.5)
    trimming.cancel()

def when_due():
    trim = Trim(every_s=0.5)
    assert not trim.is_due()
    time.sleep(0.5)
    assert trim.is_due() and not trim.is_due(), 'once'
    trim.now()

return_freed_memory(arenas=2, from_bytes=128 << 10)
blocks = [(b'x' * size, b'y' * (size // 100)) for size in [60_000] * 2_000]
kept = [small for _, small in blocks]
most = resident_mb()
del blocks
freed = resident_mb()
{trim}
print(most, freed, resident_mb(), len(kept))
"""


# What a thread has freed lies at the end of an arena that is not the main one, and a block as large
# as the first has told glibc that there may be more of its size.
_AT_THE_END = """
import threading
from pathlib import Path
from tts_service.ops.allocator import return_freed_memory

def work():
    bytearray(30 << 20)
    blocks = [b'x' * (1 << 20) for _ in range(60)]

{bound}
thread = threading.Thread(target=work)
thread.start()
thread.join()
# Not what `getrusage` says was the most: that begins with what the parent held.
lines = Path('/proc/self/status').read_text().splitlines()
held = dict(line.split(':', 1) for line in lines)
print(*(int(held[name].removesuffix('kB')) / 1000 for name in ('VmHWM', 'VmRSS')))
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told"
)


@pytest.mark.parametrize("trim", ["asyncio.run(by_task())", "when_due()"])
def test_freed_pages_go_back_from_between_those_in_use(trim: str) -> None:
    most_mb, freed_mb, trimmed_mb, _ = _run(_BETWEEN.format(trim=trim))
    assert most_mb - freed_mb < 40, "the case is none: it went back by itself"
    assert most_mb - trimmed_mb > 90


def test_what_is_free_at_the_end_of_any_arena_goes_back() -> None:
    most_mb, freed_mb = _run(_AT_THE_END.format(bound=""))
    assert most_mb - freed_mb < 10, "the case is none: it went back by itself"
    bound = "return_freed_memory(arenas=2, from_bytes=8 << 20)"
    most_mb, freed_mb = _run(_AT_THE_END.format(bound=bound))
    assert most_mb - freed_mb > 40


def _run(program: str) -> list[float]:
    """The numbers that it prints. In a process of its own, for the allocator is set for good."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [float(number) for number in run.stdout.split()]
