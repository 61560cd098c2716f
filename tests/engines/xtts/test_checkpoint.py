"""What is a checkpoint is loaded, what is none is refused by name, and no code in it is run."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import _legacy_safe_globals

from tests.xtts_checkpoint import SPEAKERS, Pair
from tts_service.engines.base import OptionError
from tts_service.engines.xtts.checkpoint import Checkpoint, load_checkpoint

State = dict[str, Tensor]


@pytest.fixture
def folder(tiny: Pair, tmp_path: Path) -> Path:
    """A copy to be spoiled. Its files are links: replace them, don't write into them."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(tiny.folder, copy, copy_function=os.link)
    return copy


def replace_file(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def replace_saved(file: Path, content: object, **options: Any) -> None:
    file.unlink()
    torch.save(content, file, **options)


def change_state(folder: Path, change: Callable[[State], State], **options: Any) -> None:
    file = folder / "model.pth"
    state: State = torch.load(file, weights_only=True)["model"]
    replace_saved(file, {"model": change(state)}, **options)


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "config.json"
    content = json.loads(file.read_text())
    change(content)
    replace_file(file, json.dumps(content).encode())


def check_same_weights(one: Checkpoint, other: Checkpoint) -> None:
    for mine, its in ((one.gpt, other.gpt), (one.vocoder, other.vocoder)):
        expected = its.state_dict()
        assert mine.state_dict().keys() == expected.keys()
        for name, tensor in mine.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
    assert torch.equal(one.mel_stats, other.mel_stats)


def refusal(folder: Path) -> str:
    with pytest.raises(OptionError) as refused:
        load_checkpoint(folder)
    return str(refused.value)


def test_the_weights_are_those_of_upstreams_loader(tiny: Pair) -> None:
    upstream = tiny.stock.state_dict()
    checkpoint = load_checkpoint(tiny.folder)
    for prefix, module in (("gpt.", checkpoint.gpt), ("hifigan_decoder.", checkpoint.vocoder)):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, upstream[prefix + name]), name
    assert torch.equal(checkpoint.mel_stats, upstream["mel_stats"])
    assert not checkpoint.gpt.training
    assert not checkpoint.vocoder.training


def test_the_speakers_are_the_voices_of_the_file(tiny: Pair) -> None:
    assert tuple(tiny.checkpoint.speakers) == SPEAKERS
    entries = torch.load(tiny.folder / "speakers_xtts.pth", weights_only=True)
    for name, voice in tiny.checkpoint.speakers.items():
        assert torch.equal(voice.latents, entries[name]["gpt_cond_latents"][0])
        assert torch.equal(voice.speaker, entries[name]["speaker_embedding"].flatten())


def test_a_checkpoint_without_speakers_has_no_voices(folder: Path) -> None:
    (folder / "speakers_xtts.pth").unlink()
    assert load_checkpoint(folder).speakers == {}


@pytest.mark.parametrize(
    "missing",
    [["config.json"], ["model.pth"], ["vocab.json"], ["config.json", "vocab.json"]],
    ids=", ".join,
)
def test_missing_files_are_named(folder: Path, missing: list[str]) -> None:
    for name in missing:
        (folder / name).unlink()
    text = refusal(folder)
    assert f"{', '.join(missing)} is missing" in text
    assert "tts-service models download xtts-v2" in text


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "model.pth" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("kept", [0, 10, 1_000, 1_000_000, 30_000_000])
def test_a_cut_model_is_refused(folder: Path, kept: int) -> None:
    file = folder / "model.pth"
    data = file.read_bytes()
    assert len(data) > kept
    replace_file(file, data[:kept])
    assert "model.pth is no checkpoint of XTTS" in refusal(folder)


NOT_A_MODEL: dict[str, Any] = {
    "a list": [1, 2],
    "no model in it": {"weights": {}},
    "a list in place of the model": {"model": [torch.zeros(2)]},
    "no names": {"model": {1: torch.zeros(2)}},
    "no tensors": {"model": {"gpt.mel_head.bias": "zero"}},
}


@pytest.mark.parametrize("content", NOT_A_MODEL.values(), ids=NOT_A_MODEL)
def test_another_content_is_refused(folder: Path, content: object) -> None:
    replace_saved(folder / "model.pth", content)
    assert "model.pth" in refusal(folder)


@pytest.mark.parametrize(
    "data", [b"<html>Not found</html>", pickle.dumps({"model": 1}, 2)], ids=["page", "pickle"]
)
def test_another_kind_of_file_is_refused(folder: Path, data: bytes) -> None:
    replace_file(folder / "model.pth", data)
    assert "model.pth is no checkpoint of XTTS" in refusal(folder)


def test_another_archive_is_refused(folder: Path) -> None:
    (folder / "model.pth").unlink()
    with zipfile.ZipFile(folder / "model.pth", "w") as archive:
        archive.writestr("readme/data.txt", "hello")
    assert "model.pth is no checkpoint of XTTS" in refusal(folder)


class Planted:
    """Whoever unpickles it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self._trace),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "bare pickle"])
@pytest.mark.parametrize("name", ["model.pth", "speakers_xtts.pth"])
def test_code_in_a_file_is_refused_and_not_run(
    folder: Path, tmp_path: Path, name: str, zipped: bool
) -> None:
    file, trace = folder / name, tmp_path / "trace"
    content = torch.load(file, weights_only=True) | {"extra": Planted(trace)}
    replace_saved(file, content, _use_new_zipfile_serialization=zipped)
    assert name in refusal(folder)
    assert not trace.exists()
    # The code is there: a loader that trusts the file runs it.
    torch.load(file, weights_only=False)
    assert trace.exists()


def test_the_first_version_of_the_model_is_refused(folder: Path) -> None:
    def without_perceiver(content: dict[str, Any]) -> None:
        content["model_args"]["gpt_use_perceiver_resampler"] = False

    change_config(folder, without_perceiver)
    assert "is of XTTS v1" in refusal(folder)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"xtts"', b'{"model_args": null}', b"\xff\xfe"]
)
def test_a_configuration_that_is_none_is_refused(folder: Path, data: bytes) -> None:
    replace_file(folder / "config.json", data)
    assert "config.json is no configuration of XTTS" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null"])
def test_a_vocabulary_that_is_none_is_refused(folder: Path, text: str) -> None:
    replace_file(folder / "vocab.json", text.encode())
    assert "vocab.json" in refusal(folder)


@pytest.mark.parametrize("mark", ["[START]", "[STOP]"])
def test_a_vocabulary_without_its_marks_is_refused(folder: Path, mark: str) -> None:
    file = folder / "vocab.json"
    replace_file(file, file.read_text().replace(mark, "[OTHER]").encode())
    assert "vocab.json" in refusal(folder)


@pytest.mark.parametrize("name", ["gpt.mel_head.bias", "hifigan_decoder.speaker_encoder.fc.bias"])
def test_a_missing_tensor_is_named(folder: Path, name: str) -> None:
    change_state(folder, lambda state: {key: state[key] for key in state if key != name})
    text = refusal(folder)
    assert "model.pth does not fit config.json" in text
    assert name.split(".", 1)[1] in text


@pytest.mark.parametrize(
    "name",
    ["gpt.mel_head.third", "hifigan_decoder.speaker_encoder.fc.third", "diffusion_decoder.bias"],
)
def test_a_foreign_tensor_is_named(folder: Path, name: str) -> None:
    change_state(folder, lambda state: state | {name: torch.zeros(3)})
    text = refusal(folder)
    assert "model.pth does not fit config.json" in text
    assert name.split(".", 1)[1] in text


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("gpt.mel_head.bias", torch.zeros(7)),
        ("mel_stats", torch.ones(3)),
        ("hifigan_decoder.waveform_decoder.conv_pre.weight", torch.tensor(1.0)),
    ],
)
def test_a_tensor_of_another_shape_is_refused(folder: Path, name: str, tensor: Tensor) -> None:
    change_state(folder, lambda state: state | {name: tensor})
    assert "model.pth" in refusal(folder)


SPEAKERS_REFUSED: dict[str, object] = {
    "a list": [1],
    "nobody": {"Ana": None},
    "numbers": {"Ana": {"gpt_cond_latents": 1, "speaker_embedding": 2}},
    "a tensor more": {"Ana": {"a": torch.ones(1), "b": torch.ones(1), "c": torch.ones(1)}},
    "another width": {
        "Ana": {
            "gpt_cond_latents": torch.ones(1, 32, 48),
            "speaker_embedding": torch.ones(1, 512, 1),
        }
    },
}


@pytest.mark.parametrize("content", SPEAKERS_REFUSED.values(), ids=SPEAKERS_REFUSED)
def test_other_speakers_are_refused(folder: Path, content: object) -> None:
    replace_saved(folder / "speakers_xtts.pth", content)
    assert "speakers_xtts.pth holds no speakers of XTTS" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 3, 9_000])
def test_a_cut_file_of_speakers_is_refused(folder: Path, kept: int) -> None:
    file = folder / "speakers_xtts.pth"
    replace_file(file, file.read_bytes()[:kept])
    assert "speakers_xtts.pth holds no speakers of XTTS" in refusal(folder)


def test_what_the_trainer_leaves_is_loaded(tiny: Pair, folder: Path) -> None:
    """Names with its prefix, and modules that only training needs."""
    leftovers = {
        "xtts.torch_mel_spectrogram_style_encoder.mel_norms": torch.ones(80),
        "torch_mel_spectrogram_dvae.mel_stft.window": torch.ones(8),
        "xtts.dvae.encoder.0.weight": torch.ones(4, 4),
        "dvae.codebook.embed": torch.ones(4, 4),
    }

    def as_trained(state: State) -> State:
        return {f"xtts.{name}": tensor for name, tensor in state.items()} | leftovers

    plain = load_checkpoint(tiny.folder)
    change_state(folder, as_trained)
    check_same_weights(load_checkpoint(folder), plain)


def test_what_upstreams_inference_leaves_is_loaded(tiny: Pair, folder: Path) -> None:
    """Old checkpoints hold its wrapper around the GPT, which is the same weights again."""
    plain = load_checkpoint(tiny.folder)
    change_state(folder, lambda _: tiny.stock.state_dict())
    check_same_weights(load_checkpoint(folder), plain)


def test_the_official_files_configuration_objects_are_loaded(tiny: Pair, folder: Path) -> None:
    """It holds them under the name of a module that they have since left."""
    config = XttsConfig()
    config.load_json(folder / "config.json")
    config.datasets = [BaseDatasetConfig()]
    file = folder / "model.pth"
    state = torch.load(file, weights_only=True)["model"]
    with _legacy_safe_globals():
        replace_saved(file, {"config": config, "model": state, "epoch": 3})
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        assert b"TTS.tts.models.xtts\nXttsArgs" in archive.read(pickled)
        assert b"TTS.tts.models.xtts\nXttsAudioConfig" in archive.read(pickled)
    check_same_weights(load_checkpoint(folder), load_checkpoint(tiny.folder))


def test_the_format_before_zip_is_loaded(tiny: Pair, folder: Path) -> None:
    change_state(folder, dict, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(folder / "model.pth")
    check_same_weights(load_checkpoint(folder), load_checkpoint(tiny.folder))


def test_half_precision_on_disk_is_float32_in_memory(folder: Path) -> None:
    change_state(
        folder,
        lambda state: {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        },
    )
    checkpoint = load_checkpoint(folder)
    weights = [*checkpoint.gpt.parameters(), *checkpoint.vocoder.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tiny: Pair, folder: Path) -> None:
    assert load_checkpoint(folder).fingerprint == tiny.checkpoint.fingerprint
    moved = folder.rename(folder.with_name("elsewhere"))
    assert load_checkpoint(moved).fingerprint == tiny.checkpoint.fingerprint
    assert len(bytes.fromhex(tiny.checkpoint.fingerprint)) == 32


@pytest.mark.parametrize("name", ["model.pth", "speakers_xtts.pth", "config.json", "vocab.json"])
def test_one_other_byte_is_another_fingerprint(tiny: Pair, folder: Path, name: str) -> None:
    file = folder / name
    data = bytearray(file.read_bytes())
    if name.endswith(".json"):
        data += b"\n"
    else:
        data[len(data) // 2] ^= 1  # within the numbers of a tensor
    replace_file(file, bytes(data))
    assert load_checkpoint(folder).fingerprint != tiny.checkpoint.fingerprint


def test_without_speakers_the_fingerprint_is_another(tiny: Pair, folder: Path) -> None:
    (folder / "speakers_xtts.pth").unlink()
    assert load_checkpoint(folder).fingerprint != tiny.checkpoint.fingerprint
