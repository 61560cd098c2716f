"""What decides how a text sounds is in the fingerprint that kept speech is found by."""

from contextlib import closing
from pathlib import Path

import pytest

from tts_service.engines.xtts import engine as xtts


def _fingerprint(folder: Path, precision: str) -> str:
    with closing(xtts.XttsEngine(checkpoint_dir=str(folder), precision=precision)) as engine:
        described = engine.describe()
    assert {voice.model_fingerprint for voice in described.voices} == {described.model_fingerprint}
    return described.model_fingerprint


@pytest.mark.parametrize("package", ["coqui-tts", "num2words"])
def test_who_reads_a_text_and_the_numbers_of_the_weights_are_in_it(
    folder: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = _fingerprint(folder, "float32")
    assert _fingerprint(folder, "float32") == exact
    assert _fingerprint(folder, "bfloat16") != exact
    actual = xtts.version
    monkeypatch.setattr(xtts, "version", lambda name: actual(name) + ".1" * (name == package))
    assert _fingerprint(folder, "float32") != exact
