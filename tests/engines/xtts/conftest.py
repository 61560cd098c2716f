"""Checkpoints of random weights, loaded by upstream and by the engine."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.width import wide
from tests.xtts_checkpoint import OFFICIAL, TINY, Pair, load_pair, write_checkpoint


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread for tiny models: with more, they wait for each other longer than they work."""
    before = torch.get_num_threads()
    if "official" not in request.fixturenames:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=range(wide(5, else_=2)), ids=lambda seed: f"tiny{seed}")
def any_tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Tiny models, of several seeds."""
    return load_pair(
        write_checkpoint(tmp_path_factory.mktemp("tiny"), TINY, request.param),
        TINY,
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One tiny model."""
    return load_pair(write_checkpoint(tmp_path_factory.mktemp("tiny"), TINY, seed=9), TINY)


@pytest.fixture(scope="session")
def folder(tiny: Pair) -> Path:
    """Where the one tiny model lies. It is shared: read it only."""
    return tiny.folder


@pytest.fixture(
    scope="session", params=wide((21, 22), else_=(21,)), ids=lambda seed: f"official{seed}"
)
def official(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Models of the official size, one after the other: each takes 2 GB of disk and 6 of memory."""
    gc.collect()
    folder = tmp_path_factory.mktemp("official")
    try:
        write_checkpoint(folder, OFFICIAL, request.param)
        yield load_pair(folder, OFFICIAL)
    finally:
        shutil.rmtree(folder)
