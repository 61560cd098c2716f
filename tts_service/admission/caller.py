"""Who asks for something."""

import math
from dataclasses import dataclass

__all__ = ["Caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """One call's side of the matter.

    Attributes:
        identity: whose quotas count; "" for everybody who isn't known.
        request_id: of the call; the same when it is tried again.
        deadline_s: until when the caller waits, on `time.monotonic`'s clock.
    """

    identity: str
    request_id: str
    deadline_s: float = math.inf
