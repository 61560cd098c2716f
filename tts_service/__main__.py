"""The command `tts-service`, also `python -m tts_service`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

try:
    import click
except ImportError:
    sys.exit(
        "tts-service needs the server's packages: pip install 'PATH_OF_THE_CLONE[server,piper]'"
    )

from .commands.cache import cache
from .commands.doctor import doctor
from .commands.failure import EXIT_FAILURE, EXIT_USAGE, fail
from .commands.health import health
from .commands.places import places, read_settings
from .commands.tokens import tokens

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tts-service", prog_name="tts-service")
def main() -> None:
    """A gRPC service that speaks.

    `tts-service serve` starts it; the command `tts` talks to it.
    """


@main.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen. Default: 127.0.0.1:50051.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all that the server keeps. Default: ./data.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TTS_CONFIG",
    help="TOML file with settings.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="Engine to start; may be given many times. Default: piper.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Default: info.",
)
def serve(config_file: Path | None, **flags: Any) -> None:
    """Serve speech until SIGTERM or Ctrl-C.

    Prints one line on standard output when it is ready; logs go to standard error.

    \b
    Every setting can be given in three ways, the first that is found wins:
      flag         --listen 127.0.0.1:50061
      environment  TTS_LISTEN=127.0.0.1:50061, TTS_PIPER__VOICES_DIR=/srv/voices
      file         listen = "127.0.0.1:50061"   (TOML, named by --config or TTS_CONFIG)

    `tts-service settings` lists them all.
    """
    # gRPC's own lines tell an operator nothing that ours don't.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from .signals import exit_on_signal

    exit_on_signal()
    # Imported here, so that --help does not wait for them.
    from .config import ConfigError, load_settings
    from .ops.allocator import return_freed_memory
    from .ops.logging import configure_logging, log_failure

    # Audio in pieces of all sizes, from some forty threads: as it comes, five times what is in use.
    return_freed_memory(arenas=2, from_bytes=128 << 10)
    writes_json = False
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    try:
        settings = load_settings(given, config_file)
        writes_json = configure_logging(settings.log_level, settings.log_format, process="front")
        _make_folder(settings.data_dir)
        from .server import serve as run

        asyncio.run(run(settings, on_ready=lambda port, about: _say_ready(settings, port, about)))
    except ConfigError as error:
        if writes_json:
            log_failure(str(error))
            sys.exit(EXIT_USAGE)
        fail(str(error))


@main.command()
def settings() -> None:
    """List all settings with their defaults."""
    from .config import describe_settings

    for line in describe_settings():
        click.echo(line)


main.add_command(cache)
main.add_command(tokens)
main.add_command(health)
main.add_command(doctor)


@main.group()
def voices() -> None:
    """Look after the uploaded voices on disk."""


@voices.command()
@places
@click.option("--repair", is_flag=True, help="Put right what can be put right.")
def check(data_dir: Path | None, config_file: Path | None, repair: bool) -> None:
    """Check every uploaded voice, and repair them if asked.

    Reads all recordings and embeddings. A repair removes what crashes left behind, and embeddings
    that are broken, which are made again; a voice that is broken is moved to quarantine. May run
    beside a server, which keeps using what it has loaded.

    Exit status: 0 all is well or was repaired, 1 something is wrong, 2 there are no voices there.
    """
    from voice_store import StoreNotFoundError, VoiceStoreError, check_store

    root = read_settings(data_dir, config_file).data_dir / "voices"
    try:
        findings = check_store(root, repair=repair)
    except StoreNotFoundError:
        fail(f"no voices were ever stored in {root}; see --data-dir or --config")
    except (OSError, VoiceStoreError) as error:
        fail(f"the voices in {root} can't be checked: {error}", EXIT_FAILURE)
    for finding in findings:
        mark = "repaired" if finding.repaired else "wrong"
        click.echo(f"{mark:<8}  {finding.voice_id}: {finding.problem}")
    wrong = sum(not finding.repaired for finding in findings)
    click.echo(f"{len(findings)} finding(s), {wrong} still wrong")
    sys.exit(1 if wrong else 0)


@main.group()
def models() -> None:
    """Fetch the models of engines that don't bring their own."""


@models.command()
@click.argument("name", metavar="MODEL")
@places
@click.option("--accept-licence", is_flag=True, help="Accept the model's licence without asking.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file that names another source: a mirror's copy, a fine-tuned checkpoint.",
)
def download(
    name: str,
    data_dir: Path | None,
    config_file: Path | None,
    accept_licence: bool,
    manifest: Path | None,
) -> None:
    """Fetch MODEL, such as xtts-v2, from the Hugging Face hub and check it.

    It comes to DATA_DIR/models/MODEL, whole or not at all. If it breaks off, the same command
    continues where it stopped. HF_ENDPOINT names a mirror of the hub, HF_TOKEN logs in.

    Exit status: 0 it is there, 1 it could not be fetched or the licence was not accepted,
    2 a setting or the manifest can't be used.
    """
    # Otherwise the hub's library asks the hub for more than files, and tells it more than it needs.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from .models import (
        ManifestError,
        ModelError,
        ModelFolder,
        UnknownModelError,
        ask_at_terminal,
        find_model,
        progress_reporter,
        read_manifest,
    )
    from .models import download as fetch

    try:
        model = find_model(name)
        source = model.source if manifest is None else read_manifest(manifest, model)
        folder = ModelFolder(read_settings(data_dir, config_file).data_dir, name)
        with progress_reporter() as reporter:
            fetched = fetch(
                model,
                folder,
                source=source,
                accepts=lambda licence: accept_licence or ask_at_terminal(licence),
                reporter=reporter,
            )
    except (ManifestError, UnknownModelError) as error:
        fail(str(error))
    except ModelError as error:
        fail(str(error), EXIT_FAILURE)
    except OSError as error:
        fail(f"{error.strerror}: {error.filename or folder.path}", EXIT_FAILURE)
    click.echo(
        f"{name} {'is ready' if fetched else 'was there already, and is whole'}: {folder.path}"
    )


@models.command("list")
@places
def list_models(data_dir: Path | None, config_file: Path | None) -> None:
    """List the models that can be fetched: name, state, size on disk, folder.

    A model counts as present when its files are there; `models download` reads and checks them.
    """
    from .models import MODELS, ModelFolder, size

    root = read_settings(data_dir, config_file).data_dir
    for model in MODELS:
        folder = ModelFolder(root, model.name)
        state = folder.state(model)
        click.echo(f"{model.name:<12}  {state:<8}  {size(folder.size_bytes()):>8}  {folder.path}")


def _make_folder(data_dir: Path) -> None:
    from .config import ConfigError

    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir: {error.strerror}: {error.filename}") from error


def _say_ready(settings: Any, port: int, about: str) -> None:
    host, separator, _ = settings.listen.rpartition(":")
    address = settings.listen if settings.listen.startswith("unix:") else f"{host}{separator}{port}"
    click.echo(f"tts-service ready on {address} ({about})")
    sys.stdout.flush()


if __name__ == "__main__":
    main(prog_name="tts-service")
