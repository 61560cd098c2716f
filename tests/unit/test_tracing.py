"""The seam of tracing while it is off."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from tts_service.config import TracingSettings
from tts_service.ops.tracing import NO_SPAN, NO_TRACER, current_span, open_tracer


def test_off_nothing_of_opentelemetry_is_loaded() -> None:
    code = (
        "import sys, tts_service.server, tts_service.engines.worker\n"
        "from tts_service.ops.tracing import open_tracer\n"
        "open_tracer('', sample_ratio=1.0, process='front')\n"
        "print(sorted(m for m in sys.modules if m.startswith('opentelemetry')))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_off_a_span_is_nothing_all_the_way_down() -> None:
    assert open_tracer("", sample_ratio=1.0, process="front") is NO_TRACER
    span = NO_TRACER.arrived("/tts.v1.TextToSpeech/Synthesize", [("traceparent", "00-x")])
    with span, span.child("plan") as child, child.call("/engine.v1.Engine/Render") as call:
        call.note(characters=3)
        call.event("first audio")
        assert call is NO_SPAN
        assert current_span() is NO_SPAN
        assert call.headers == ()
        assert call.ids is None


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4317", "http://user:pass@host:1", "ftp://host:1", "http://"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="is written http"):
        TracingSettings(endpoint=endpoint)
