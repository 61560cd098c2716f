"""What a failed call is counted as."""

import grpc

from tts_client.errors import TtsError

__all__ = ["failure_name"]


def failure_name(error: BaseException) -> str:
    """The name of the status, if it came with one, else of the exception."""
    origin = error.__cause__ if isinstance(error, TtsError) else error
    return str(origin.code().name) if isinstance(origin, grpc.RpcError) else type(error).__name__
