"""What a worker of XTTS holds in memory, against what its shapes add up to (docs/xtts.md).

    python benchmarks/xtts_memory.py [--checkpoint DIR] [--slots 16] [--json FILE]

On a CPU, in a process of its own: loads the engine at the official size, speaks with all slots at
once, and writes every position of their keys and values, as utterances of the full length would.
"""

import argparse
import gc
import json
import os
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.xtts_checkpoint import OFFICIAL, write_checkpoint
from tts_service.engines.base import RenderJob, Sampling
from tts_service.engines.xtts import XttsEngine

TEXT = "The quick brown fox."


def main() -> int:
    """Measure, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="folder in the official layout")
    parser.add_argument("--slots", type=int, default=16, help="slots (16)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        if options.checkpoint is None:
            print("writing a checkpoint with random weights ...", file=sys.stderr)
            options.checkpoint = write_checkpoint(Path(folder) / "xtts", OFFICIAL)
        figures = measure(options.checkpoint, options.slots)
    for name, value in figures.items():
        print(f"  {name:<34} {value:.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure(checkpoint: Path, slots: int) -> dict[str, float]:
    """Returns megabytes: of each part on paper, and of the process."""
    before = resident_bytes()
    with closing(
        XttsEngine(checkpoint_dir=str(checkpoint), device="cpu", slots=str(slots))
    ) as engine:
        gc.collect()
        loaded = resident_bytes()
        decoder = engine._loop._decoder
        speak_in_all_slots(engine, slots)
        for tensors in (decoder._cache._keys, decoder._cache._values, decoder._latents):
            tensors.fill_(0.0)
        gc.collect()
        filled = resident_bytes()
        gpt = decoder._gpt
        paper = {
            "layers": gpt.layers
            * (12 * gpt.width**2 + 13 * gpt.width)
            * torch.finfo(gpt.dtype).bits
            // 8,
            "generator": 71_000_000,
            "embeddings_positions_head": 40_000_000,
            "conditioning_and_speaker_encoder": 217_000_000,
            "slots": slots * decoder.slot_bytes,
        }
    figures = {f"paper_{name}_mb": size / 1e6 for name, size in paper.items()}
    total = sum(paper.values())
    return figures | {
        "paper_total_mb": total / 1e6,
        "process_loaded_mb": (loaded - before) / 1e6,
        "process_speaking_mb": (filled - before) / 1e6,
        "process_to_paper": (filled - before) / total,
    }


def speak_in_all_slots(engine: XttsEngine, slots: int) -> None:
    """Speak a short sentence in every slot at once."""
    voice = engine.describe().voices[0].id

    def speak(seed: int) -> None:
        for _ in engine.render(RenderJob(TEXT, voice, "en", sampling=Sampling(seed=seed))):
            pass

    threads = [threading.Thread(target=speak, args=(seed,)) for seed in range(slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
