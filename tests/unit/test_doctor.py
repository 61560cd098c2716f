"""The doctor's ear, and its eye for certificates."""

import datetime
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.human_speech import SAMPLE_RATE_HZ, noise, sentence
from tests.identity import Authority
from tts_service.doctor import Finding, look_at_certificates, look_at_secret_file
from tts_service.doctor.listening import listen, oddities

_TEXT = "The sun came up behind the old lighthouse, and the harbour slowly began to wake."


def _odd(samples: NDArray[np.float32]) -> list[str]:
    heard = listen(samples.astype(np.float32), SAMPLE_RATE_HZ)
    return list(oddities(heard, characters=len(_TEXT), is_voice=True))


def test_a_sentence_sounds_well() -> None:
    assert _odd(sentence(_TEXT)) == []


def _with_hole(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    middle = len(samples) // 2
    hole = np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    return np.concatenate([samples[:middle], hole, samples[middle:]])


_SPOILED: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "it is silent": np.zeros_like,
    "its level is": lambda spoken: spoken * np.float32(0.05),
    "is clipped": lambda spoken: np.clip(spoken * 20, -1, 1),
    "it has a hole of": _with_hole,
    "80 characters take 0.5 s": lambda spoken: spoken[: SAMPLE_RATE_HZ // 2],
    "80 characters take": lambda spoken: np.tile(spoken, 6),
    "0% of it sounds like speech": lambda spoken: noise(len(spoken), -20.0),
}


@pytest.mark.parametrize("words", _SPOILED)
def test_what_is_odd_is_heard(words: str) -> None:
    odd = _odd(_SPOILED[words](sentence(_TEXT)))
    assert any(words in one for one in odd), odd


def test_nothing_at_all_is_silent() -> None:
    assert _odd(np.zeros(0, np.float32)) == ["it is silent"]


def _days(number: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def _issued(
    authority: Authority, file: str, first_day: float = -1, last_day: float = 90
) -> tuple[Path, Path]:
    pair = authority.issue(
        file, "localhost", not_before=_days(first_day), not_after=_days(last_day)
    )
    pair.key.chmod(0o600)
    return pair.certificate, pair.key


def _told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.state.value, finding.found) for finding in findings]


def test_good_certificates_are_good(authority: Authority) -> None:
    certificate, key = _issued(authority, "good", last_day=90.5)
    own, its_authority = _told(look_at_certificates(certificate, key, authority.path))
    assert own == ("ok", f"{certificate} for localhost: good for 90 days")
    assert its_authority[0] == "ok"
    assert str(authority.path) in its_authority[1]


@pytest.mark.parametrize(
    ("first_day", "last_day", "state", "words"),
    [
        (-90, -1, "fail", "expired"),
        (1, 90, "fail", "not yet valid"),
        (-90, 10.5, "warn", "good for 10 days"),
    ],
)
def test_certificates_have_their_time(
    authority: Authority, first_day: float, last_day: float, state: str, words: str
) -> None:
    certificate, key = _issued(authority, "timed", first_day, last_day)
    ((told, found),) = _told(look_at_certificates(certificate, key))
    assert told == state
    assert words in found


def test_certificates_that_cant_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = _issued(authority, "one")
    _, other_key = _issued(authority, "two")
    nothing, rubbish = tmp_path / "nothing.pem", tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    for certificate_file, key_file, words in (
        (certificate, other_key, "is not the key of"),
        (nothing, key, f"{nothing}: No such file"),
        (certificate, nothing, f"{nothing}: No such file"),
        (rubbish, key, "are no PEM certificate and key"),
    ):
        ((state, found),) = _told(look_at_certificates(certificate_file, key_file))
        assert state == "fail"
        assert words in found
    for authorities, words in (
        (nothing, "No such file"),
        (rubbish, "holds no PEM certificate"),
        (certificate, "holds no authority's certificate"),
    ):
        _, (state, found) = _told(look_at_certificates(certificate, key, authorities))
        assert state == "fail"
        assert words in found


def test_a_key_that_anybody_can_read_is_named(authority: Authority) -> None:
    certificate, key = _issued(authority, "open")
    key.chmod(0o644)
    states = _told(look_at_certificates(certificate, key))
    assert ("warn", f"{key} can be read by anybody (644)") in states


def test_files_of_secrets(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    assert _told(look_at_secret_file(tokens))[0][0] == "fail"
    tokens.write_text("a")
    os.chmod(tokens, 0o600)
    assert _told(look_at_secret_file(tokens))[0][0] == "ok"
    os.chmod(tokens, 0o644)
    assert _told(look_at_secret_file(tokens))[0][0] == "warn"
