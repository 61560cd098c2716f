"""Servers that are shared by all tests that don't harm them."""

import tempfile
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from tests.server_process import ServerProcess, running_server


@pytest.fixture(scope="session", autouse=True)
def temporary_files() -> Iterator[None]:
    """A folder for them that other processes of the same run don't write to.

    Several tests count what servers leave in it. Its path is short, for sockets lie in it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tts-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def speech_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server as `make run` starts it: Piper with its default voice."""
    with running_server(tmp_path_factory.mktemp("speech-server")) as server:
        yield server


@pytest.fixture(scope="session")
def tone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the deterministic engine alone, as fast as it goes."""
    with running_server(tmp_path_factory.mktemp("tone-server"), "--engine", "tone") as server:
        yield server


@pytest.fixture
async def no_process_stays() -> AsyncIterator[None]:
    """Looks after the test whether all processes that it started are gone."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    after = psutil.Process().children(recursive=True)
    assert {process.pid for process in after} <= before, "zombies count"
