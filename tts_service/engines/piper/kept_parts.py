"""The parts of voices' graphs on disk, so that a graph is taken apart once."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp

import google_crc32c
import numpy as np
import onnx
import onnxruntime
import structlog

from .graph_parts import GraphParts, NotInPartsError, take_apart
from .speech import Phonemes, Speech, WholeSpeech, WindowedSpeech, open_session
from .voices import VoiceFile

__all__ = ["VoiceReplacedError", "open_speech", "sweep_parts"]

# Goes up when this package takes graphs apart in another way.
_REVISION = 1
_ABOUT = "about.json"
_PARTS = ("text", "flow", "decoder")

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
        crc32c: of each part's file.
    """

    whole_because: str = ""
    latent: str = ""
    mask: str = ""
    frames: str = ""
    frame_samples: int = 0
    crc32c: tuple[int, ...] = ()


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
    try:
        about, parts = kept or _take_apart(file)
    # Whatever it is this time: a lack of memory, of threads. The next time may do.
    except Exception:
        structlog.get_logger().exception("a voice's graph can't be taken apart", voice=file.name)
        return WholeSpeech(open_session(file.model, threads))
    if folder is not None and kept is None:
        _keep(folder, about, parts)
    if about.whole_because:
        structlog.get_logger().warning(
            "a voice's graph is run whole; its first audio comes later",
            voice=file.name,
            problem=about.whole_because,
        )
        return WholeSpeech(open_session(file.model, threads))
    return _windowed(about, parts, threads)


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


def _windowed(about: _About, parts: Mapping[str, bytes], threads: int) -> WindowedSpeech:
    text, flow, decoder = (open_session(parts[name], threads) for name in _PARTS)
    return WindowedSpeech(
        text,
        flow,
        decoder,
        latent=about.latent,
        mask=about.mask,
        frames=about.frames,
        frame_samples=about.frame_samples,
    )


def _take_apart(file: VoiceFile) -> tuple[_About, dict[str, bytes]]:
    try:
        graph = take_apart(onnx.load(file.model))
        parts = {name: getattr(graph, name).SerializeToString() for name in _PARTS}
        about = _probe(file, graph, parts)
    except NotInPartsError as error:
        return _About(whole_because=str(error)), {}
    return about, parts


def _probe(file: VoiceFile, graph: GraphParts, parts: Mapping[str, bytes]) -> _About:
    """Speaks some phonemes both ways, without noise, and compares.

    Raises:
        NotInPartsError: they differ.
    """
    threads = os.cpu_count() or 1
    speaker = 0 if int(file.config["num_speakers"]) > 1 else None
    phonemes = Phonemes(_PROBE_IDS, (0.0, 1.0, 0.0), speaker)
    options = onnxruntime.RunOptions()
    whole = WholeSpeech(open_session(file.model, threads))
    (expected,) = whole.speak(phonemes, options, is_busy=False).runs
    text = open_session(parts["text"], threads)
    frame_count = np.asarray(text.run([graph.latent], phonemes.feed())[0]).shape[2]
    about = _About(
        latent=graph.latent,
        mask=graph.mask,
        frames=graph.frames,
        frame_samples=len(expected) // frame_count,
        crc32c=tuple(google_crc32c.value(parts[name]) for name in _PARTS),
    )
    spoken = _windowed(about, parts, threads).speak(phonemes, options, is_busy=False)
    joined = np.concatenate(list(spoken.runs))
    if len(joined) != len(expected) or np.abs(joined - expected).max() > _TOLERANCE:
        raise NotInPartsError("its parts make other samples than the whole")
    return about


def _read(folder: Path) -> tuple[_About, dict[str, bytes]] | None:
    try:
        kept = json.loads((folder / _ABOUT).read_text())
        about = _About(**{**kept, "crc32c": tuple(kept["crc32c"])})
        if about.whole_because:
            return about, {}
        parts = {name: (folder / f"{name}.onnx").read_bytes() for name in _PARTS}
        if about.crc32c == tuple(google_crc32c.value(parts[name]) for name in _PARTS):
            return about, parts
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def _keep(folder: Path, about: _About, parts: Mapping[str, bytes]) -> None:
    """Writes the parts; all of them or none. A disk that is full is no reason not to speak."""
    staging = None
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=".staging-", dir=folder.parent))
        for name, data in parts.items():
            (staging / f"{name}.onnx").write_bytes(data)
        (staging / _ABOUT).write_text(json.dumps(asdict(about)))
        shutil.rmtree(folder, ignore_errors=True)  # what could not be read
        staging.rename(folder)
    except OSError as error:
        structlog.get_logger().warning("a voice's parts can't be kept", problem=error.strerror)
        if staging is not None:
            with suppress(OSError):
                shutil.rmtree(staging)
