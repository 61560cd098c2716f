"""What the fuzzing of uploads runs in the sandbox."""

import io
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from audio_codec import DecodeError, DecodeLimits, decode_audio

Answer = tuple[dict[str, object], list[bytes]]

_LIMITS = DecodeLimits(max_duration_s=30)


def decode(job: dict[str, Any], files: list[BinaryIO]) -> Answer:
    """Decodes one file as an upload would be."""
    audio = decode_audio(files[0], _LIMITS)
    report = {"sample_rate_hz": audio.sample_rate_hz, "channels": len(audio.samples)}
    return report, [audio.samples.tobytes()]


def decode_measured(job: dict[str, Any], files: list[BinaryIO]) -> Answer:
    """Decodes one file and says what came of it and how long it took."""
    began = time.process_time()
    outcome = _outcome(files[0])
    return {"outcome": outcome, "cpu_s": time.process_time() - began}, []


def decode_truncated(job: dict[str, Any], files: list[BinaryIO]) -> Answer:
    """Decodes each file's beginnings, one for each `step_bytes`."""
    step_bytes = job["step_bytes"]
    return _decode_all(
        data[:end]
        for data in (file.read() for file in files)
        for end in range(0, len(data), step_bytes)
    )


def decode_mutants(job: dict[str, Any], files: list[BinaryIO]) -> Answer:
    """Decodes `count` damaged copies of the files. The same seed damages them alike."""
    source = random.Random(job["seed"])
    originals = [file.read() for file in files]
    return _decode_all(
        _mutant(originals[number % len(originals)], source) for number in range(job["count"])
    )


def _decode_all(uploads: Iterator[bytes]) -> Answer:
    outcomes: Counter[str] = Counter()
    slowest_s = 0.0
    for data in uploads:
        began = time.process_time()
        outcomes[_outcome(io.BytesIO(data))] += 1
        slowest_s = max(slowest_s, time.process_time() - began)
    return {"outcomes": outcomes, "slowest_s": slowest_s}, []


def _outcome(file: BinaryIO) -> str:
    """ "OK" or the reason of the refusal. Any other exception is a failure of the test."""
    try:
        audio = decode_audio(file, _LIMITS)
    except DecodeError as error:
        return error.reason.value
    if audio.samples.dtype != np.float32 or not np.isfinite(audio.samples).all():
        raise AssertionError("samples that are none")
    if audio.samples.shape[1] > 30 * audio.sample_rate_hz or not audio.samples.size:
        raise AssertionError(f"samples of shape {audio.samples.shape}")
    return "OK"


def _mutant(data: bytes, source: random.Random) -> bytes:
    """One to eight wounds: bits, bytes, lengths, pieces out, doubled, moved or made up."""
    mutant = bytearray(data)
    for _ in range(source.randint(1, 8)):
        # Half of them in the headers, where most of the meaning is.
        reach = len(mutant) if source.random() < 0.5 else min(256, len(mutant))
        position = source.randrange(max(1, reach))
        length = source.choice([1, 2, 4, 8, 64, 512])
        piece = bytes(mutant[position : position + length])
        match source.randrange(7):
            case 0 if mutant:
                mutant[min(position, len(mutant) - 1)] ^= 1 << source.randrange(8)
            case 1:
                mutant[position : position + length] = source.randbytes(length)
            case 2:
                extreme = source.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
                order = source.choice(["little", "big"])
                mutant[position : position + 4] = extreme.to_bytes(4, order)  # type: ignore[arg-type]
            case 3:
                del mutant[position : position + length]
            case 4:
                mutant[position:position] = piece
            case 5:
                target = source.randrange(len(mutant) + 1)
                mutant[target : target + length] = piece
            case _:
                mutant[position:position] = source.randbytes(length)
    return bytes(mutant)
