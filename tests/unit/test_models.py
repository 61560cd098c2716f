"""The catalog of models, and how a broken transfer is tried again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session

from tests.hub import REPOSITORY, REVISION, running_hub
from tests.hub import Hub as LocalHub
from tts_service.models import (
    MODELS,
    XTTS_V2,
    HubError,
    InterruptedDownloadError,
    ModelFile,
    ModelSource,
    UnknownModelError,
    WrongContentError,
    find_model,
    size,
)
from tts_service.models.hub import Hub

_DATA = bytes(range(256)) * 40
_FILE = ModelFile("model.pth", len(_DATA), "0" * 64)


@pytest.fixture
def local() -> Iterator[LocalHub]:
    with running_hub({"model.pth": _DATA, "LICENSE.txt": b"Be kind.\n"}) as running:
        yield running
    close_session()


class _Fetch:
    """One fetch, and what it reported."""

    def __init__(self, local: LocalHub, folder: Path, pauses_s: tuple[float, ...]) -> None:
        source = ModelSource(REPOSITORY, REVISION, (_FILE,))
        self._hub = Hub(source, endpoint=local.url, pauses_s=pauses_s)
        self.part = folder / "part"
        self.interruptions = 0
        self.moves: list[int] = []

    def run(self) -> None:
        def interrupted(reason: str, pause_s: float) -> None:
            self.interruptions += 1

        self._hub.fetch(_FILE, self.part, moved=self.moves.append, interrupted=interrupted)


def test_what_is_pinned_is_pinned_to_the_byte() -> None:
    for model in MODELS:
        assert re.fullmatch("[0-9a-f]{40}", model.source.revision)
        assert model.required_files <= {file.name for file in model.source.files}
        for file in model.source.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size_bytes > 0
        assert model.source.revision in model.licence.url
    assert size(XTTS_V2.source.size_bytes) == "1.88 GB"


def test_models_are_found_by_name() -> None:
    assert find_model("xtts-v2") is XTTS_V2
    with pytest.raises(UnknownModelError, match="xtts-v2"):
        find_model("XTTS")


def test_the_official_files_are_asked_for_at_their_commit(local: LocalHub) -> None:
    hub = Hub(XTTS_V2.source, endpoint=local.url)
    with pytest.raises(WrongContentError, match="4014 are expected"):
        hub.check(XTTS_V2.source.files[0])
    asked = local.requests[-1]
    assert asked.place == f"/coqui/XTTS-v2/resolve/{XTTS_V2.source.revision}"
    assert (asked.method, asked.file_name) == ("HEAD", "LICENSE.txt")


def test_tries_end_when_nothing_comes_any_more(local: LocalHub, tmp_path: Path) -> None:
    local.cuts["model.pth"] = [100, 0, 0]
    fetch = _Fetch(local, tmp_path, (0.0, 0.0))
    with pytest.raises(InterruptedDownloadError, match="run the command again"):
        fetch.run()
    assert fetch.interruptions == 2  # after the bytes, and once in vain
    assert fetch.part.read_bytes() == _DATA[:100]


def test_tries_go_on_as_long_as_something_comes(local: LocalHub, tmp_path: Path) -> None:
    local.cuts["model.pth"] = [100] * 20
    fetch = _Fetch(local, tmp_path, (0.0,))
    fetch.run()
    assert fetch.part.read_bytes() == _DATA
    assert fetch.interruptions == 20
    assert fetch.moves == sorted(fetch.moves)
    assert fetch.moves[-1] == len(_DATA)


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (503, 3), (429, 3), (404, 1), (403, 1)])
def test_only_what_may_pass_is_tried_again(
    local: LocalHub, tmp_path: Path, status: int, tries: int
) -> None:
    local.status = status
    with pytest.raises(HubError) as caught:
        _Fetch(local, tmp_path, (0.0, 0.0)).run()
    assert isinstance(caught.value, InterruptedDownloadError) == (tries > 1)
    asked = [request for request in local.requests if request.file_name == "model.pth"]
    assert len(asked) == tries


def test_a_whole_part_asks_for_nothing(local: LocalHub, tmp_path: Path) -> None:
    fetch = _Fetch(local, tmp_path, ())
    fetch.part.write_bytes(_DATA)
    fetch.run()
    assert local.requests == []
    assert fetch.moves == [len(_DATA)]


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [(15, "15 B"), (999_949, "999.9 kB"), (7_754_818, "7.8 MB"), (1_867_929_118, "1.87 GB")],
)
def test_sizes_read_well(byte_count: int, text: str) -> None:
    assert size(byte_count) == text
