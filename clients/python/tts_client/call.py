"""What travels with a call beside its request: an id and a deadline."""

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from tts_client.request import check_request_id

Metadata: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `timeout_s` is None for a call without a deadline.

    caller: the metadata that tells the server who calls, if the connection does not.
    """

    request_id: str
    timeout_s: float | None
    caller: Metadata = field(default=(), repr=False)

    @classmethod
    def make(
        cls,
        request_id: str | None,
        timeout_s: float | None,
        default_timeout_s: float | None,
        caller: Metadata = (),
    ) -> "Call":
        """A call under the caller's id or a new one, with the caller's limit or the client's.

        Raises `InvalidArgument` for an id that metadata cannot carry, `ValueError` for a limit
        that is not above 0.
        """
        limit_s = default_timeout_s if timeout_s is None else timeout_s
        if limit_s is not None and not limit_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {limit_s}")
        if limit_s == math.inf:
            limit_s = None
        return cls(check_request_id(request_id), limit_s, caller)

    @property
    def metadata(self) -> Metadata:
        """The metadata of the call. The server takes over `x-request-id` as the request's id."""
        return (("x-request-id", self.request_id), *self.caller)
