"""`tts completion`: the script that teaches a shell to complete `tts`."""

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
Install it once:
  bash   tts completion bash > ~/.local/share/bash-completion/completions/tts
  zsh    tts completion zsh > "${fpath[1]}/_tts"
  fish   tts completion fish > ~/.config/fish/completions/tts.fish

\b
Or try it in this shell only:
  bash, zsh   eval "$(tts completion bash)"     (or zsh)
  fish        tts completion fish | source
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options, formats and files, and asks the server for voices.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "tts", "_TTS_COMPLETE").source())
