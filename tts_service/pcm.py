"""Samples on the wire of `engine.v1`."""

import numpy as np
from numpy.typing import NDArray

from protos.engine.v1 import engine_pb2

__all__ = ["decode_samples"]

# 18 dB above full scale. What is as loud is no voice, but a model gone wrong.
_LOUDEST = 8.0


def decode_samples(
    data: bytes, sample_format: engine_pb2.SampleFormat.ValueType
) -> NDArray[np.float32]:
    """Returns mono samples of shape (n,) at full scale 1.0.

    Raises:
        ValueError: the format is unknown, the bytes are no whole number of samples, or a sample
            is not finite or far above full scale.
    """
    match sample_format:
        case engine_pb2.SAMPLE_FORMAT_S16LE:
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        case engine_pb2.SAMPLE_FORMAT_F32LE:
            samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
            # One that is not a number is in neither range.
            if len(samples) and not (samples.min() >= -_LOUDEST and samples.max() <= _LOUDEST):
                raise ValueError("a sample is not finite, or far above full scale")
            return samples
        case _:
            raise ValueError(f"unknown sample format {sample_format}")
