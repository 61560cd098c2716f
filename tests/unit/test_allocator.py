"""What is freed goes back to the kernel, wherever it lay."""

import platform
import subprocess
import sys

import pytest

# Blocks below what is mapped by itself, each beside one that lives on. A process of its own, for
# how an allocator is set holds for the whole of it, and for good.
_PROGRAM = """
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

def after_work():
    trim = Trim(every_s=0.5)
    trim.after_work()
    assert resident_mb() > freed - 1, 'before it was due'
    time.sleep(0.5)
    trim.after_work()

return_freed_memory()
blocks = [(b'x' * size, b'y' * (size // 100)) for size in [60_000] * 2_000]
kept = [small for _, small in blocks]
most = resident_mb()
del blocks
freed = resident_mb()
{trim}
print(most, freed, resident_mb(), len(kept))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")
@pytest.mark.parametrize("trim", ["asyncio.run(by_task())", "after_work()"])
def test_freed_pages_go_back_from_between_those_in_use(trim: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(trim=trim)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    most_mb, freed_mb, trimmed_mb, _ = map(float, run.stdout.split())
    assert most_mb - freed_mb < 40, "the case is none: it went back by itself"
    assert most_mb - trimmed_mb > 90
