"""Methods that nobody made a rule for, behind the boundary that stands before all."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from protos.tts.v1 import tts_pb2
from tests.identity import Tokens, bearer
from tts_service.api import CallBoundary
from tts_service.identity import Gate

_KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class _NewMethods(grpc.GenericRpcHandler):
    """A method of each kind, in the service and beside it, that fails if it is ever reached."""

    def service(self, handler_call_details: Any) -> Any:
        kind = handler_call_details.method.rpartition("/")[2]

        async def answer(*_: object) -> Any:
            raise AssertionError("it was reached")

        async def answers(*_: object) -> AsyncIterator[Any]:
            raise AssertionError("it was reached")
            yield

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            answers if kind.endswith("stream") else answer,
            request_deserializer=tts_pb2.GetServerInfoRequest.FromString,
        )


@pytest.mark.parametrize("service", ["tts.v1.TextToSpeech", "other.v1.Service"])
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("asks", [False, True])
async def test_a_method_without_a_rule_is_refused_whoever_calls(
    tmp_path: Path, service: str, kind: str, asks: bool
) -> None:
    tokens = Tokens(tmp_path / "tokens.jsonl")
    chief = tokens.add("chief", "admin")
    gate = Gate(tokens.file.watched()) if asks else Gate()
    server = grpc.aio.server(
        handlers=[_NewMethods()], interceptors=[CallBoundary(gate, stall_limit_s=5)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = getattr(channel, kind)(f"/{service}/{kind}")
            request = iter([b""]) if kind.startswith("stream") else b""
            call = method(request, metadata=bearer(chief), timeout=20)
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
            assert await call.details() == "nobody may call this method"
    finally:
        await server.stop(0)
