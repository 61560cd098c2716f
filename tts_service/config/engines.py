"""The settings of each engine, and what they become: the options of its worker."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from .group import Group, OptionalPath

__all__ = ["PiperSettings", "ToneSettings", "XttsSettings"]

_GROWTH = "how much more memory than when it was ready its worker may hold; 0: any amount"
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


class PiperSettings(Group):
    """The engine `piper`."""

    voices_dir: OptionalPath = Field(
        None, description="folder with *.onnx voices beside the default one"
    )
    loaded_voices_limit: int = Field(4, ge=1, le=100, description="voices kept in memory")
    concurrent_renders: int = Field(
        0, ge=0, le=256, description="sentences rendered at once; 0: as many as there are cores"
    )
    memory_growth_bytes: int = Field(4 << 30, ge=0, le=1 << 50, description=_GROWTH)

    def options(self, data_dir: Path) -> dict[str, str]:
        """As the worker's options."""
        return {
            "parts_dir": str((data_dir / "piper").absolute()),
            "voices_dir": "" if self.voices_dir is None else str(self.voices_dir.absolute()),
            "loaded_voices_limit": str(self.loaded_voices_limit),
            "concurrent_renders": str(self.concurrent_renders),
        }


class ToneSettings(Group):
    """The engine `tone`, which is for tests."""

    real_time_factor: float = Field(
        0.0, ge=0.0, le=100.0, description="seconds that a second of audio takes"
    )
    misbehaves: bool = Field(
        False, description="whether certain characters make its worker hang, end, leak and worse"
    )
    memory_growth_bytes: int = Field(1 << 30, ge=0, le=1 << 50, description=_GROWTH)

    def options(self) -> dict[str, str]:
        """As the worker's options."""
        return {
            "real_time_factor": str(self.real_time_factor),
            "misbehaves": str(self.misbehaves).lower(),
        }


class XttsSettings(Group):
    """The engine `xtts`."""

    checkpoint_dir: OptionalPath = Field(
        None, description="folder of the model; none: DATA_DIR/models/xtts-v2"
    )
    device: str = Field("auto", description="auto, cpu, cuda, or cuda:N for one of several GPUs")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto, float32 or bfloat16"
    )
    slots: int = Field(16, ge=1, le=256, description="sentences that are decoded at once")
    waiting_limit: int = Field(
        64, ge=0, le=4096, description="sentences that may wait for a slot; others are refused"
    )
    run_ahead_s: float = Field(
        20.0, ge=1.0, le=600.0, description="audio that a sentence may be ahead of its reader"
    )
    fixed_batch: bool = Field(
        False, description="a seed gives the same bytes under any load; few callers are slower"
    )
    memory_growth_bytes: int = Field(8 << 30, ge=0, le=1 << 50, description=_GROWTH)

    @field_validator("device")
    @classmethod
    def _is_device(cls, value: str) -> str:
        if _DEVICE.fullmatch(value) is None:
            raise ValueError("is auto, cpu, cuda or cuda:N")
        return value

    def options(self, data_dir: Path) -> dict[str, str]:
        """As the worker's options."""
        checkpoint_dir = self.checkpoint_dir or data_dir / "models" / "xtts-v2"
        return {
            "checkpoint_dir": str(checkpoint_dir.absolute()),
            "device": self.device,
            "precision": self.precision,
            "slots": str(self.slots),
            "waiting_limit": str(self.waiting_limit),
            "run_ahead_s": str(self.run_ahead_s),
            "fixed_batch": str(self.fixed_batch).lower(),
        }
