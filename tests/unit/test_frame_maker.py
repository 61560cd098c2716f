"""Frames tell which text they speak, however many runs they join."""

import pytest

from audio_codec import EncodedFrame
from tts_service.synthesis.frame_maker import FrameMaker

_RATE_HZ = 24_000
_RUN = 4_800


@pytest.mark.parametrize("rate_hz", [_RATE_HZ, 8_000])
def test_a_joined_frame_tells_all_that_is_heard_in_it(rate_hz: int) -> None:
    maker = FrameMaker(rate_hz, joins=True)
    for span in ((0, 20), (20, 20), (21, 24), (24, 24)):
        maker.heard(_RUN, _RATE_HZ, span)
    run = _RUN * rate_hz // _RATE_HZ
    # The encoder held back the end of the pause before the second sentence.
    held_back = run // 4
    frames = maker.frames([EncodedFrame(b"a", 0, run)])
    frames += maker.frames([EncodedFrame(b"b", run, run - held_back)])
    frames += maker.frames(
        [
            EncodedFrame(b"c", 2 * run - held_back, run),
            EncodedFrame(b"d", 3 * run - held_back, run),
            EncodedFrame(b"", 4 * run - held_back, 0),
        ]
    )
    spans = [(frame.start_character, frame.end_character) for frame in frames]
    assert spans == [(0, 20), (20, 20), (21, 24)]
    assert [(frame.start_ms, frame.duration_ms) for frame in frames] == [
        (0, 200),
        (200, 150),
        (350, 400),
    ]
