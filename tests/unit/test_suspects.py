"""Which texts are refused because workers end on them."""

import asyncio
from pathlib import Path

import pytest

from tts_service.errors import EngineUnavailable, NotPossible
from tts_service.fleet.connection import Connection
from tts_service.fleet.segment_job import SegmentJob, Speaker
from tts_service.fleet.suspects import Suspects


class _Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _is_refused(suspects: Suspects, text: str) -> bool:
    try:
        suspects.check("tone", text)
    except NotPossible:
        return True
    return False


def _lose(suspects: Suspects, text: str, times: int) -> None:
    for _ in range(times):
        suspects.lost_worker(text)


def test_a_text_is_refused_after_three_losses_and_no_other_is() -> None:
    suspects = Suspects()
    _lose(suspects, "bad", 2)
    assert not _is_refused(suspects, "bad")
    _lose(suspects, "bad", 1)
    with pytest.raises(NotPossible, match=r"^engine 'tone' lost 3 workers") as caught:
        suspects.check("tone", "bad")
    assert caught.value.reason == "TEXT_ENDS_WORKERS"
    assert not _is_refused(suspects, "good")


def test_a_text_that_is_spoken_in_between_was_only_there() -> None:
    suspects = Suspects()
    for _ in range(5):
        _lose(suspects, "popular", 2)
        suspects.spoken("popular")
        suspects.spoken("never seen")
    assert not _is_refused(suspects, "popular")


def test_it_is_forgotten_after_a_while() -> None:
    clock = _Clock()
    suspects = Suspects(clock)
    _lose(suspects, "bad", 3)
    clock.now_s += 299
    assert _is_refused(suspects, "bad")
    clock.now_s += 2
    assert not _is_refused(suspects, "bad")
    _lose(suspects, "bad", 1)
    assert not _is_refused(suspects, "bad"), "what is forgotten doesn't count again"


def test_the_table_is_bounded() -> None:
    suspects = Suspects()
    _lose(suspects, "first", 3)
    for number in range(255):
        suspects.lost_worker(f"{number}")
    assert _is_refused(suspects, "first")
    suspects.lost_worker("one too many")
    assert not _is_refused(suspects, "first")


async def test_one_worker_counts_once_by_however_many_calls_it_was_speaking(
    tmp_path: Path,
) -> None:
    suspects = Suspects()
    job = SegmentJob("popular", (Speaker("tone-low"),), "en")

    async def render(connection: Connection) -> None:
        with pytest.raises(EngineUnavailable):
            async with connection.render(job, request_id="x"):
                pass

    for losses in range(1, 4):
        assert not _is_refused(suspects, "popular")
        connection = Connection("tone", f"unix:{tmp_path}/{losses}", suspects)  # nobody is there
        await asyncio.gather(*(render(connection) for _ in range(5)))
        await connection.close()
    assert _is_refused(suspects, "popular")
