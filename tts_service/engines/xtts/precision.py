"""Where the model runs and in what numbers."""

import torch

from ..base import OptionError

__all__ = ["choose_device", "choose_dtype"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """Returns the device of an option's name; `auto` is the GPU if there is one.

    Raises:
        OptionError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"device: there is no {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise OptionError(f"device: {name!r} isn't supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device: {name!r} was asked for, and PyTorch sees {torch.cuda.device_count()} GPUs"
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the numbers of an option's name; `auto` is bfloat16 where it is quicker.

    On a CPU without instructions for it bfloat16 is emulated, and slower than float32.

    Raises:
        OptionError: there are no such numbers.
    """
    if name == "auto":
        quick = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else torch.cpu.get_capabilities().get("avx512_bf16", False)
            or torch.cpu.get_capabilities().get("amx_tile", False)
        )
        return torch.bfloat16 if quick else torch.float32
    if name not in _DTYPES:
        raise OptionError(f"precision: there is no {name!r}; use auto, {' or '.join(_DTYPES)}")
    return _DTYPES[name]
