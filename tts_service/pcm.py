"""Samples on the wire of `engine.v1`."""

import numpy as np
from numpy.typing import NDArray

from protos.engine.v1 import engine_pb2

__all__ = ["decode_samples"]


def decode_samples(
    data: bytes, sample_format: engine_pb2.SampleFormat.ValueType
) -> NDArray[np.float32]:
    """Returns mono samples of shape (n,) at full scale 1.0.

    Raises:
        ValueError: the format is unknown, the bytes are no whole number of samples, or a sample
            is not finite.
    """
    match sample_format:
        case engine_pb2.SAMPLE_FORMAT_S16LE:
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        case engine_pb2.SAMPLE_FORMAT_F32LE:
            samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
            if not np.isfinite(samples).all():
                raise ValueError("a sample is not finite")
            return samples
        case _:
            raise ValueError(f"unknown sample format {sample_format}")
