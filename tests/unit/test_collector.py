"""What is loaded at start-up costs no time later."""

import subprocess
import sys

_MEASURE = """
import gc
import weakref

from tts_service.ops.collector import spare_what_is_loaded


class Garbage:
    def __init__(self):
        self.itself = self


lost = weakref.ref(Garbage())
spare_what_is_loaded()
assert lost() is None, "garbage was frozen"
loaded = gc.get_freeze_count()
assert loaded > 1000 and len(gc.get_objects()) < loaded / 10, (loaded, len(gc.get_objects()))
lost = weakref.ref(Garbage())
gc.collect()
assert lost() is None, "what came later isn't collected"
"""


def test_only_what_comes_later_is_visited() -> None:
    subprocess.run([sys.executable, "-c", _MEASURE], check=True, timeout=60)
