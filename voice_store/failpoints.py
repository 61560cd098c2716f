"""Named places at which a test may end the process as `kill -9` does.

They stand behind each step that changes the disk, so that the tests can show what a crash
leaves there.
"""

import fnmatch
import os
import signal

__all__ = ["FAILPOINT_VARIABLE", "reach"]

FAILPOINT_VARIABLE = "VOICE_STORE_FAILPOINT"


def reach(name: str) -> None:
    """Ends the process at once if the environment asks for it.

    Args:
        name: of the place. It is meant if it matches the variable's shell pattern.
    """
    pattern = os.environ.get(FAILPOINT_VARIABLE)
    if pattern and fnmatch.fnmatchcase(name, pattern):
        os.kill(os.getpid(), signal.SIGKILL)
