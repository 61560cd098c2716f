"""The doctor's look at a checkpoint: whole, or which file is not."""

import os
import shutil
from pathlib import Path

import pytest

from tests.xtts_checkpoint import Pair
from tts_service.doctor.engine_probe import look_at_xtts


def test_a_whole_checkpoint_is_whole(tiny: Pair) -> None:
    ((state, found, _),) = look_at_xtts(tiny.folder)
    assert state == "ok"
    assert str(tiny.folder) in found


@pytest.mark.parametrize("name", ["model.pth", "speakers_xtts.pth", "vocab.json", "config.json"])
def test_a_file_that_lost_its_end_is_named(tiny: Pair, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.folder, folder)
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    ((state, found, _),) = look_at_xtts(folder)
    assert state == "fail"
    assert f"{folder / name} is broken" in found


def test_a_changed_byte_is_noticed(tiny: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.folder, folder)
    with (folder / "model.pth").open("r+b") as file:
        file.seek((folder / "model.pth").stat().st_size // 2)
        (old,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old ^ 1]))
    ((state, found, _),) = look_at_xtts(folder)
    assert state == "fail"
    assert "is not what was written" in found
