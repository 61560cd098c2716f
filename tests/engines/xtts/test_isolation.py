"""Many requests in one model: none of them hears another.

The codes come from random weights, which hardly ever stop: each request has a ceiling of its own.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.width import wide
from tts_service.engines.base import EngineBusyError, RenderJob, Sampling
from tts_service.engines.listener import Listener
from tts_service.engines.xtts import XttsEngine
from tts_service.engines.xtts.checkpoint import Checkpoint, load_checkpoint
from tts_service.engines.xtts.decoder import Decoder, Prompt
from tts_service.engines.xtts.gpt import Gpt
from tts_service.engines.xtts.loop import DecodeLoop
from tts_service.engines.xtts.sampling import SampleRules
from tts_service.engines.xtts.scheduler import Scheduler
from tts_service.engines.xtts.stream import Stream
from tts_service.engines.xtts.utterance import Utterance
from tts_service.engines.xtts.vocoder import Vocoder, Window

SLOTS = 4
SCHEDULES = wide(1_000, else_=100)

TEXTS = ("Hello.", "The quick brown fox jumps.", "Ja, gut so.", "Buenos días a todos.")
LANGUAGES = ("en", "en", "de", "es")


def jobs(engine: XttsEngine, count: int) -> list[RenderJob]:
    voices = engine.describe().voices
    return [
        RenderJob(
            text=f"{TEXTS[n % 4]} {'la ' * n}",
            voice=voices[n % 2].id,
            language=LANGUAGES[n % 4],
            speed=(1.0, 0.8, 1.2)[n % 3],
            sampling=Sampling(seed=n, temperature=(0.75, 0.0, 1.1)[n % 3]),
        )
        for n in range(count)
    ]


def speak(engine: XttsEngine, job: RenderJob) -> NDArray[np.float32]:
    return np.concatenate([chunk.samples for chunk in engine.render(job)])


def speak_at_once(engine: XttsEngine, wanted: list[RenderJob]) -> list[NDArray[np.float32]]:
    heard: dict[int, NDArray[np.float32]] = {}

    def listen(n: int) -> None:
        heard[n] = speak(engine, wanted[n])

    threads = [threading.Thread(target=listen, args=(n,)) for n in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [heard[n] for n in range(len(wanted))]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sixteen_streams_are_bit_for_bit_what_each_is_alone(folder: Path, precision: str) -> None:
    with closing(
        XttsEngine(checkpoint_dir=str(folder), precision=precision, fixed_batch="true")
    ) as engine:
        wanted = jobs(engine, 16)
        alone = [speak(engine, job) for job in wanted]
        together = speak_at_once(engine, wanted)
    assert len({samples.tobytes() for samples in alone}) == 16
    for one, same in zip(alone, together, strict=True):
        assert np.array_equal(one, same)


def test_across_batch_sizes_they_differ_by_rounding_alone(folder: Path) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32")) as engine:
        wanted = jobs(engine, 16)
        alone = [speak(engine, job) for job in wanted]
        together = speak_at_once(engine, wanted)
    for one, same in zip(alone, together, strict=True):
        assert len(one) == len(same)
        assert np.abs(one - same).max() < 1e-3


def test_a_seed_decides_and_nothing_else(folder: Path) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32")) as engine:
        job = jobs(engine, 1)[0]
        other = RenderJob(job.text, job.voice, job.language, sampling=Sampling(seed=99))
        assert np.array_equal(speak(engine, job), speak(engine, job))
        assert not np.array_equal(speak(engine, job), speak(engine, other))


def test_more_renders_than_there_may_be_are_refused(folder: Path) -> None:
    with closing(
        XttsEngine(checkpoint_dir=str(folder), precision="float32", slots="1", waiting_limit="2")
    ) as engine:
        job = jobs(engine, 1)[0]
        renders = [engine.render(job) for _ in range(3)]
        with pytest.raises(EngineBusyError):
            engine.render(job)
        for render in renders[1:]:
            render.cancel()
        whole = np.concatenate([chunk.samples for chunk in renders[0]])
        assert np.array_equal(whole, speak(engine, job))


def test_a_render_waits_for_a_reader_who_is_behind(folder: Path) -> None:
    with closing(
        XttsEngine(checkpoint_dir=str(folder), precision="float32", run_ahead_s="2")
    ) as engine:
        job = RenderJob("la " * 80, engine.describe().voices[0].id, "en")
        render = engine.render(job)
        first = next(render)
        time.sleep(1.0)
        # What has been made meanwhile comes at once; it is no more than the run-ahead and the
        # chunk that crossed it.
        waiting = sum(len(chunk) for chunk in render._chunks)  # type: ignore[attr-defined]
        rest = np.concatenate([chunk.samples for chunk in render])
        assert waiting < 5 * 24_000
        assert len(first.samples) + len(rest) > 10 * 24_000


def test_a_slot_that_becomes_free_goes_to_who_waits(folder: Path) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32", slots="1")) as engine:
        job = jobs(engine, 1)[0]
        unread = engine.render(job)
        heard_samples = speak(engine, job)
        assert np.array_equal(heard_samples, np.concatenate([c.samples for c in unread]))


def fail_prompt(monkeypatch: pytest.MonkeyPatch, seed: int | None) -> list[int]:
    """Has the prompt with a seed fail; the list tells whose prompts were read from now on."""
    begin = Decoder.begin
    tried: list[int] = []

    def begin_or_fail(decoder: Decoder, slot: int, prompt: Prompt) -> int:
        tried.append(prompt.rules.seed)
        if prompt.rules.seed == seed:
            raise RuntimeError("planted")
        return begin(decoder, slot, prompt)

    monkeypatch.setattr(Decoder, "begin", begin_or_fail)
    return tried


def test_a_prompt_that_fails_ends_its_own_request_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32")) as engine:
        good, *_, bad = jobs(engine, 4)
        whole = speak(engine, good)
        fail_prompt(monkeypatch, bad.sampling.seed)
        render = engine.render(good)
        with pytest.raises(RuntimeError, match="planted"):
            speak(engine, bad)
        assert np.array_equal(np.concatenate([c.samples for c in render]), whole)


def test_a_second_try_that_fails_ends_its_own_request_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(
        XttsEngine(checkpoint_dir=str(folder), precision="float32", fixed_batch="true")
    ) as engine:
        good = jobs(engine, 2)[1]
        # Random weights don't stop within the ceiling of a short word.
        bad = RenderJob("Hello.", good.voice, "en", sampling=Sampling(seed=4_711))
        whole = speak(engine, good)
        tried = fail_prompt(monkeypatch, 4_712)
        render = engine.render(good)
        with pytest.raises(RuntimeError, match="planted"):
            speak(engine, bad)
        assert np.array_equal(np.concatenate([c.samples for c in render]), whole)
        assert tried[-2:] == [4_711, 4_712]


def test_a_model_that_falls_silent_is_not_decoded_to_its_ceiling(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32")) as engine:
        job = RenderJob("la " * 80, engine.describe().voices[0].id, "en", sampling=Sampling(seed=1))
        assert len(speak(engine, job)) > 20 * 24_000
        say, step = Vocoder.speak, Decoder.step
        steps, windows = [0], [0]

        def fall_silent(vocoder: Vocoder, asked: list[Window]) -> list[torch.Tensor]:
            windows[0] += len(asked)
            return [said * (1.0 if windows[0] < 4 else 1e-6) for said in say(vocoder, asked)]

        def count(decoder: Decoder, slots: list[int]) -> list[int]:
            steps[0] += 1
            return step(decoder, slots)

        monkeypatch.setattr(Vocoder, "speak", fall_silent)
        monkeypatch.setattr(Decoder, "step", count)
        assert 0 < len(speak(engine, job)) < 3 * 24_000
        assert steps[0] < 300


def test_a_step_that_fails_ends_all_in_it_and_the_next_are_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(XttsEngine(checkpoint_dir=str(folder), precision="float32")) as engine:
        wanted = jobs(engine, 4)
        whole = speak(engine, wanted[0])

        def fail(_: Decoder, slots: object) -> list[int]:
            raise RuntimeError(f"planted for {slots}")

        with monkeypatch.context() as broken:
            broken.setattr(Decoder, "step", fail)
            for render in [engine.render(job) for job in wanted]:
                with pytest.raises(RuntimeError, match="planted"):
                    list(render)
        assert np.array_equal(speak(engine, wanted[0]), whole)


_LOST_DEVICE = """
import contextlib
import sys
import time
from tts_service.engines.base import RenderJob
from tts_service.engines.xtts.decoder import Decoder
from tts_service.engines.xtts.engine import XttsEngine

def lost(*_):
    raise RuntimeError('lost')

engine = XttsEngine(checkpoint_dir=sys.argv[1], precision='float32')
voice = engine.describe().voices[0].id
renders = [engine.render(RenderJob('la ' * 60, voice, 'en')) for _ in range(3)]
for render in renders:
    next(render)
Decoder.step, Decoder.end = lost, lost
for render in renders:
    with contextlib.suppress(RuntimeError):
        list(render)
        print('one ended as if it were whole')
time.sleep(5)
"""


def test_a_worker_whose_device_is_lost_ends_and_nobody_takes_a_part_for_the_whole(
    folder: Path,
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _LOST_DEVICE, folder],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == os.EX_SOFTWARE, run.stderr
    assert "as if it were whole" not in run.stdout


def test_a_closed_engine_takes_no_more_and_leaves_nobody_waiting(folder: Path) -> None:
    engine = XttsEngine(checkpoint_dir=str(folder), precision="float32")
    job = jobs(engine, 1)[0]
    render = engine.render(RenderJob("la " * 60, job.voice, "en"))
    next(render)
    engine.close()
    list(render)  # ends
    with pytest.raises(EngineBusyError):
        engine.render(job)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request of the random schedules."""

    number: int
    max_codes: int
    speed: float
    greedy: bool


@dataclass(slots=True)
class Model:
    """A loop on a tiny model, and what is needed to ask something of it."""

    checkpoint: Checkpoint
    vocoder: Vocoder
    loop: DecodeLoop

    def ask(self, wish: Wish) -> Stream:
        """Begins a request."""
        voices = list(self.checkpoint.speakers.values())
        text = [3, *((7 * wish.number + n) % 200 + 20 for n in range(4 + wish.number))]
        stream = Stream(1, self.loop.wake)
        self.loop.submit(
            Utterance(
                stream,
                voices[wish.number % len(voices)],
                text,
                SampleRules(temperature=0.0 if wish.greedy else 0.75, seed=wish.number),
                self.vocoder,
                max_codes=wish.max_codes,
                speed=wish.speed,
                look_ahead=wish.number % 5 == 0,
                listener=Listener(),
            )
        )
        return stream


WISHES = [
    Wish(n, max_codes=(3, 6, 12, 20, 70)[n % 5], speed=(1.0, 0.7, 1.3)[n % 3], greedy=n % 4 == 0)
    for n in range(20)
]


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    device = torch.device("cpu")
    checkpoint = load_checkpoint(folder)
    vocoder = Vocoder(checkpoint.vocoder, device, batched=False)
    decoder = Decoder(Gpt(checkpoint.gpt, torch.float32, device), SLOTS, ())
    scheduler = Scheduler(SLOTS, run_ahead_s=2.0, chunks_per_turn=1)
    loop = DecodeLoop(decoder, vocoder, scheduler, max_open=64)
    yield Model(checkpoint, vocoder, loop)
    loop.close()


def heard(stream: Stream) -> NDArray[np.float32]:
    return np.concatenate([chunk.samples for chunk in stream])


@pytest.mark.timeout(600)
def test_joining_leaving_and_cancelling_at_random_changes_no_neighbour(model: Model) -> None:
    alone = [heard(model.ask(wish)) for wish in WISHES]
    for seed in range(SCHEDULES):
        chance = random.Random(seed)
        wishes = chance.sample(WISHES, chance.randint(2, 7))
        failures: list[str] = []

        def listen(wish: Wish, stream: Stream, leave_after: int | None) -> None:
            got = []
            for count, chunk in enumerate(stream):
                if count == leave_after:
                    stream.cancel()
                got.append(chunk.samples)
            samples = np.concatenate(got) if got else np.zeros(0, np.float32)
            whole = alone[wish.number]
            if not np.array_equal(samples, whole[: len(samples)]):
                failures.append(f"{wish} heard something else")  # noqa: B023 - joined below
            if leave_after is None and len(samples) != len(whole):
                failures.append(f"{wish} lost its end")  # noqa: B023

        threads = []
        for wish in wishes:
            leave_after = chance.choice([None, None, 0, 1, 2])
            stream = model.ask(wish)
            if chance.random() < 0.1:
                stream.cancel()  # before it has begun
                continue
            threads.append(threading.Thread(target=listen, args=(wish, stream, leave_after)))
            threads[-1].start()
            time.sleep(chance.random() * 0.01)
        for thread in threads:
            thread.join()
        assert not failures, f"schedule {seed}"
    deadline = time.monotonic() + 10.0
    while model.loop.open_count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert model.loop.open_count == 0
    assert model.loop.free_slots == SLOTS
