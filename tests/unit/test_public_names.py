"""What each package promises to the outside is what it exports."""

import importlib

import pytest


@pytest.mark.parametrize(
    "package",
    [
        "audio_codec",
        "tts_client",
        "tts_client.load",
        "tts_service.admission",
        "tts_service.api",
        "tts_service.cache",
        "tts_service.config",
        "tts_service.doctor",
        "tts_service.engines.base",
        "tts_service.engines.piper",
        "tts_service.errors",
        "tts_service.fleet",
        "tts_service.identity",
        "tts_service.models",
        "tts_service.ops.metrics",
        "tts_service.synthesis",
        "tts_service.text",
        "tts_service.voices",
        "voice_store",
    ],
)
def test_all_names_are_there_and_sorted(package: str) -> None:
    module = importlib.import_module(package)
    names = module.__all__
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), f"{package}.{name}"
