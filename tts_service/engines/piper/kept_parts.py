"""The parts of voices' graphs on disk, so that a graph is taken apart once."""

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import mkdtemp

import google_crc32c
import numpy as np
import onnx
import onnxruntime
import structlog

from .graph import Graph
from .graph_parts import GraphParts, NotInPartsError, take_apart
from .speech import LoadedStage, Phonemes, Speech, WholeSpeech, WindowedSpeech
from .voices import VoiceFile

__all__ = ["VoiceReplacedError", "open_speech", "sweep_parts"]

# Goes up when this package takes graphs apart in another way.
_REVISION = 2
_ABOUT = "about.json"

# Phonemes that every Piper voice has; long enough for every kind of window.
_PROBE_IDS = [1, *([20, 0, 14, 0] * 40), 2]
# Younger ones may be another process's that is about to enter them, or of its voices.
_STRAY_AGE_S = 3600.0
# Of full scale: what rounding makes of other sizes of the same convolutions is far below.
_TOLERANCE = 1e-4


class VoiceReplacedError(Exception):
    """The files of a voice are others than when the engine began."""

    def __init__(self, name: str) -> None:
        super().__init__(f"voice {name!r} was replaced on disk; the worker has to begin anew")


@dataclass(frozen=True, slots=True)
class _About:
    """What is kept beside the parts.

    Attributes:
        whole_because: why the graph is run whole; "" for one in parts.
        mask: see `GraphParts`.
        stages: the fields of each `Stage`, without its model.
        crc32c: of each part's file, the text's first.
    """

    whole_because: str = ""
    mask: str = ""
    stages: list[dict[str, str | int]] = field(default_factory=list)
    crc32c: list[int] = field(default_factory=list)


def open_speech(file: VoiceFile, parts_dir: Path | None, threads: int) -> Speech:
    """Loads a voice: in parts if its graph comes apart, else whole.

    Args:
        parts_dir: where parts are kept by their voice's content; None keeps them nowhere.
        threads: that each run takes.
    """
    folder = None if parts_dir is None else parts_dir / _folder_name(file.fingerprint)
    kept = None if folder is None else _read(folder)
    if kept is not None and not kept[0].whole_because:
        return _windowed(*kept, threads)
    if VoiceFile.read(file.model).fingerprint != file.fingerprint:
        raise VoiceReplacedError(file.name)
    speech: Speech | None = None
    try:
        if kept is None:
            kept, speech = _take_apart(file, threads)
            if folder is not None:
                _keep(folder, *kept)
    # Whatever it is this time: a lack of memory, of threads. The next time may do.
    except Exception:
        structlog.get_logger().exception("a voice's graph can't be taken apart", voice=file.name)
        return WholeSpeech(Graph(file.model.read_bytes(), threads))
    if speech is None:
        structlog.get_logger().warning(
            "a voice's graph is run whole; its first audio comes later",
            voice=file.name,
            problem=kept[0].whole_because,
        )
        speech = WholeSpeech(Graph(file.model.read_bytes(), threads))
    return speech


def sweep_parts(parts_dir: Path, files: Iterable[VoiceFile]) -> None:
    """Removes the parts of voices that are no more, and what crashes left."""
    current = {_folder_name(file.fingerprint) for file in files}
    if not parts_dir.is_dir():
        return
    for folder in parts_dir.iterdir():
        with suppress(OSError):
            age_s = time.time() - folder.stat().st_mtime
            if folder.name not in current and age_s > _STRAY_AGE_S:
                shutil.rmtree(folder)


def _folder_name(fingerprint: str) -> str:
    return f"{fingerprint[:32]}-{_REVISION}"


def _windowed(about: _About, parts: Sequence[bytes], threads: int) -> WindowedSpeech:
    text, *stages = (Graph(part, threads) for part in parts)
    loaded = [
        LoadedStage(graph, **stage)  # type: ignore[arg-type]
        for graph, stage in zip(stages, about.stages, strict=True)
    ]
    return WindowedSpeech(text, about.mask, loaded)


def _take_apart(
    file: VoiceFile, threads: int
) -> tuple[tuple[_About, list[bytes]], WindowedSpeech | None]:
    """Returns what is to be kept, and the voice if it comes apart."""
    try:
        graph = take_apart(onnx.load(file.model))
        parts = [
            model.SerializeToString()
            for model in (graph.text, *(stage.model for stage in graph.stages))
        ]
        about = _describe(graph, parts)
        speech = _windowed(about, parts, threads)
        _probe(file, speech)
    except NotInPartsError as error:
        return (_About(whole_because=str(error)), []), None
    return (about, parts), speech


def _describe(graph: GraphParts, parts: Sequence[bytes]) -> _About:
    return _About(
        mask=graph.mask,
        stages=[
            {item.name: getattr(stage, item.name) for item in fields(stage) if item.name != "model"}
            for stage in graph.stages
        ],
        crc32c=[google_crc32c.value(part) for part in parts],
    )


def _probe(file: VoiceFile, speech: WindowedSpeech) -> None:
    """Speaks some phonemes both ways, without noise, and compares.

    Raises:
        NotInPartsError: they differ.
    """
    speaker = 0 if int(file.config["num_speakers"]) > 1 else None
    phonemes = Phonemes(_PROBE_IDS, (0.0, 1.0, 0.0), speaker)
    options = onnxruntime.RunOptions()
    whole = WholeSpeech(Graph(file.model.read_bytes(), 1))
    (expected,) = whole.speak(phonemes, options, lambda: False).runs
    joined = np.concatenate(list(speech.speak(phonemes, options, lambda: False).runs))
    if len(joined) != len(expected) or np.abs(joined - expected).max() > _TOLERANCE:
        raise NotInPartsError("its parts make other samples than the whole")


def _read(folder: Path) -> tuple[_About, list[bytes]] | None:
    try:
        about = _About(**json.loads((folder / _ABOUT).read_text()))
        if about.whole_because:
            return about, []
        parts = [(folder / f"{number}.onnx").read_bytes() for number in range(len(about.crc32c))]
        if about.crc32c == [google_crc32c.value(part) for part in parts]:
            return about, parts
    except (OSError, ValueError, TypeError):
        pass
    return None


def _keep(folder: Path, about: _About, parts: Sequence[bytes]) -> None:
    """Writes the parts; all of them or none. A disk that is full is no reason not to speak."""
    staging = None
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=".staging-", dir=folder.parent))
        for number, part in enumerate(parts):
            (staging / f"{number}.onnx").write_bytes(part)
        (staging / _ABOUT).write_text(json.dumps(asdict(about)))
        shutil.rmtree(folder, ignore_errors=True)  # what could not be read
        staging.rename(folder)
    except OSError as error:
        structlog.get_logger().warning("a voice's parts can't be kept", problem=error.strerror)
        if staging is not None:
            with suppress(OSError):
                shutil.rmtree(staging)
