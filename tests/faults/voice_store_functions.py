"""What processes do with a store before they are killed, for the tests beside this file."""

import itertools
import os
import resource
from pathlib import Path

from tests.faults.full_disk import fill
from tests.voice_data import add_voice, embedding, files_in, recording
from voice_store import (
    StorageFullError,
    UnknownVoiceError,
    VoiceExistsError,
    VoiceStore,
    check_store,
    failpoints,
)


def create(root: Path) -> None:
    """Opens the store and stores a voice."""
    with VoiceStore.open(root) as store:
        add_voice(
            store,
            "zoe",
            recording("neutral", 1),
            recording("sad", 2),
            embeddings={"neutral": embedding(1), "sad": embedding(2)},
        )


def replace_embedding(root: Path) -> None:
    """Puts another embedding in the place of one."""
    with VoiceStore.open(root) as store:
        store.put_embedding(store.get("zoe"), "neutral", "tone", "1", embedding(3))


def add_embedding(root: Path) -> None:
    """Adds an embedding."""
    with VoiceStore.open(root) as store:
        store.put_embedding(store.get("zoe"), "neutral", "tone", "2", embedding(4))


def delete(root: Path) -> None:
    """Deletes the voice."""
    with VoiceStore.open(root) as store:
        store.delete("zoe")


def repair(root: Path) -> None:
    """Repairs the store."""
    check_store(root, repair=True)


def work_until_killed(root: Path, seed: int) -> None:
    """Creates, embeds and deletes without end."""
    with VoiceStore.open(root) as store:
        while True:
            for call in (
                lambda: add_voice(store, "zoe", recording(seed=seed)),
                lambda: store.put_embedding(
                    store.get("zoe"), "neutral", "tone", "1", embedding(seed)
                ),
                lambda: store.delete("zoe"),
            ):
                try:
                    call()
                except (UnknownVoiceError, VoiceExistsError):
                    continue


def create_one_of_many(root: Path, seed: int) -> None:
    """Opens the store and exits with 0 if this process's voice was stored, with 3 if not."""
    with VoiceStore.open(root) as store:
        try:
            add_voice(store, "zoe", recording(seed=seed))
        except VoiceExistsError:
            os._exit(3)


def run_to_step(action: str, root: Path, step: int) -> None:
    """Runs one of these functions and is killed behind its so-manieth step, counted from 0."""
    reach, count = failpoints.reach, itertools.count()

    def reach_counted(name: str) -> None:
        if next(count) == step:
            os.environ[failpoints.FAILPOINT_VARIABLE] = name
        reach(name)

    failpoints.reach = reach_counted
    globals()[action](root)


def create_with_limited_files(root: Path, max_file_bytes: int) -> None:
    """Exits with 3 if there was no room for the voice in files so long."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, resource.RLIM_INFINITY))
    try:
        create(root)
    except StorageFullError:
        os._exit(3)


def create_on_a_full_disk(disk: Path) -> None:
    """Stores a voice with 0, 1, 2, … pages free, until it goes well, and deletes it with none.

    Prints a line for each try: its outcome and what is in the store then.
    """
    root, filler = disk / "store", disk / "filler"
    create(root)
    delete(root)
    for pages in range(64):
        fill(filler)
        os.truncate(filler, filler.stat().st_size - pages * resource.getpagesize())
        try:
            create(root)
            outcome = "stored"
        except StorageFullError:
            outcome = "full"
        print(outcome, check_store(root, repair=False), *files_in(root), flush=True)
        if outcome == "stored":
            break
        filler.unlink()
    fill(filler)
    delete(root)
    print("deleted", check_store(root, repair=False), *files_in(root), flush=True)
