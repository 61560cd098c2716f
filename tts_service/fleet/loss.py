"""Why a worker was lost."""

from enum import StrEnum

__all__ = ["LostReason"]


class LostReason(StrEnum):
    """Why a worker ended, or had to, without being asked for."""

    # It could not be started, ended while it started, or took too long.
    START = "start"
    # It ended by itself.
    EXIT = "exit"
    # A signal ended it: a crash, the kernel for lack of memory, somebody.
    KILLED = "killed"
    # It left its health checks without an answer.
    SILENT = "silent"
    # It answered those, but made no sound while it was waited for.
    STUCK = "stuck"
    # It answered again and again with what is no sound.
    BAD_AUDIO = "bad_audio"
    # It grew too large.
    MEMORY = "memory"
