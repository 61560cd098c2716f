"""What the settings of an engine become: the options of its worker."""

from pathlib import Path

import pytest

from tts_service.config import ConfigError, Settings, load_settings


def test_the_model_of_xtts_lies_in_the_data_folder_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for settings, folder in (
        (Settings(), tmp_path / "data" / "models" / "xtts-v2"),
        (Settings(data_dir=Path("/srv/tts")), Path("/srv/tts/models/xtts-v2")),
        (Settings(xtts={"checkpoint_dir": "mine"}), tmp_path / "mine"),  # type: ignore[arg-type]
    ):
        assert settings.engine_options("xtts")["checkpoint_dir"] == str(folder)


def test_an_empty_path_is_none_and_not_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE__DIR", "PIPER__VOICES_DIR", "XTTS__CHECKPOINT_DIR", "AUTH__TOKENS_FILE"):
        monkeypatch.setenv(f"TTS_{name}", "")
    settings = load_settings({})
    assert settings.cache.folder(settings.data_dir) == Path("data/cache")
    assert settings.piper.voices_dir is None
    assert settings.xtts.checkpoint_dir is None
    assert settings.auth.tokens_file is None
    monkeypatch.setenv("TTS_DATA_DIR", "")
    with pytest.raises(ConfigError, match="data_dir"):
        load_settings({})


def test_the_options_of_xtts() -> None:
    options = Settings(
        xtts={"device": "cuda:1", "slots": 4, "run_ahead_s": 7.5}  # type: ignore[arg-type]
    ).engine_options("xtts")
    del options["checkpoint_dir"]
    assert options == {
        "device": "cuda:1",
        "precision": "auto",
        "slots": "4",
        "waiting_limit": "64",
        "run_ahead_s": "7.5",
        "fixed_batch": "false",
    }


def test_each_engine_gets_its_own_options() -> None:
    settings = Settings()
    assert "loaded_voices_limit" in settings.engine_options("piper")
    assert settings.engine_options("tone") == {
        "real_time_factor": "0.0",
        "misbehaves": "false",
    }
