"""What the engine holds is what its shapes add up to, and it does not grow."""

import gc
import os
import statistics
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.width import wide
from tests.xtts_checkpoint import TINY
from tts_service.engines.base import RenderJob, Sampling
from tts_service.engines.xtts import XttsEngine
from tts_service.engines.xtts.checkpoint import load_checkpoint
from tts_service.engines.xtts.decoder import Decoder
from tts_service.engines.xtts.gpt import Gpt

# Requests from one look at the memory to the next; five stretches follow the first fifty.
_STRETCH = wide(90, else_=40)
# A request that leaves more behind is found out: 8 MiB in 450 of them.
_LEAK_BYTES = (8 << 20) // 450


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_slots_take_what_their_shapes_add_up_to(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    gpt = Gpt(checkpoint.gpt, torch.float32, torch.device("cpu"))
    slots = 64
    decoder = Decoder(gpt, slots)
    # Keys and values of all layers at all positions, and a latent a code.
    cache = 2 * TINY.layers * TINY.width * (32 + 402 + 2 + 1 + gpt.max_codes) * 4
    latents = (gpt.max_codes + 1) * TINY.width * 4
    assert decoder.slot_bytes == cache + latents
    held = sum(
        tensor.untyped_storage().nbytes()
        for part in (decoder, decoder._cache)
        for tensor in vars(part).values()
        if torch.is_tensor(tensor)
    )
    assert held == pytest.approx(slots * decoder.slot_bytes, rel=0.1)


@pytest.mark.timeout(600)
def test_hundreds_of_requests_leave_memory_where_fifty_left_it(folder: Path) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32", slots="4")) as engine:
        voice = engine.describe().voices[0].id
        after = []
        for number in range(1, 50 + 5 * _STRETCH + 1):
            # Some are heard to their end, some are left in the middle, some are never read.
            job = RenderJob(
                "Hello. " * (1 + number % 3), voice, "en", sampling=Sampling(seed=number)
            )
            render = engine.render(job)
            if number % 10:
                for count, _ in enumerate(render):
                    if number % 3 == 0 and count == 1:
                        break
            render.cancel()
            if number >= 50 and (number - 50) % _STRETCH == 0:
                gc.collect()
                after.append(resident_bytes())
    # What leaks does so in each stretch; the allocator of a large process grows in a few.
    growths = [later - earlier for earlier, later in pairwise(after)]
    assert len(growths) == 5
    assert statistics.median(growths) < _LEAK_BYTES * _STRETCH


def test_the_weights_file_does_not_stay_mapped(folder: Path) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32", slots="1")):
        gc.collect()
        assert str(folder) not in Path("/proc/self/maps").read_text()
