"""The parts of voices' graphs on disk, so that a graph is taken apart once."""

import json
import os
import shutil
from collections.abc import Mapping
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

__all__ = ["open_speech"]

# Goes up when this package takes graphs apart in another way.
_REVISION = 1
_ABOUT = "about.json"
_PARTS = ("text", "flow", "decoder")

# Phonemes that every Piper voice has; long enough for every kind of window.
_PROBE_IDS = [1, *([20, 0, 14, 0] * 40), 2]
# Of full scale: what rounding makes of other sizes of the same convolutions is far below.
_TOLERANCE = 1e-4


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
    folder = None if parts_dir is None else parts_dir / f"{file.fingerprint[:32]}-{_REVISION}"
    if folder is not None and (kept := _read(folder)) is not None:
        about, parts = kept
    else:
        about, parts = _take_apart(file)
        if folder is not None:
            _keep(folder, about, parts)
    if about.whole_because:
        return WholeSpeech(open_session(file.model, threads))
    return _windowed(about, parts, threads)


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
        structlog.get_logger().warning(
            "a voice's graph is run whole; its first audio comes later",
            voice=file.name,
            problem=str(error),
        )
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
    try:
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
    # onnxruntime's errors have no base of their own.
    except Exception as error:
        raise NotInPartsError(f"its parts don't run: {error}") from error
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
