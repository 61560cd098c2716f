"""What long sentences took goes back once they are over."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
import psutil
from tts_service.engines.base import RenderJob
from tts_service.engines.piper import PiperEngine
from tts_service.ops.allocator import Trim

engine = PiperEngine()
voice = engine.describe().voices[0]

def speak(text):
    for _ in engine.render(RenderJob(text, voice.id, voice.languages[0])):
        pass

def resident_mb():
    return psutil.Process().memory_info().rss / 1e6

engine._trim = Trim(every_s=1e9)
speak('Yes.')
little = resident_mb()
with ThreadPoolExecutor(3) as pool:
    list(pool.map(speak, ['and then there were those who had never heard of it at all ' * 8] * 3))
most = resident_mb()
engine._trim = Trim(every_s=0)
speak('Yes.')
print(little, most, resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep what they were given")
def test_what_long_sentences_took_goes_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    little_mb, most_mb, trimmed_mb = map(float, run.stdout.split())
    assert most_mb > little_mb + 70, "the case is none: they took little"
    assert trimmed_mb < little_mb + 10
