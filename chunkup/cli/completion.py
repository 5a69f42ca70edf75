"""``chunkup completion``."""

import click


@click.command(
    short_help="Print what makes a shell complete chunkup's commands.",
    epilog="""\b
Once, for bash 4.4 or newer:
  echo 'eval "$(chunkup completion bash)"' >> ~/.bashrc
For zsh, below the line with compinit:
  echo 'eval "$(chunkup completion zsh)"' >> ~/.zshrc
For fish:
  chunkup completion fish > ~/.config/fish/completions/chunkup.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script for SHELL on stdout.

    It completes commands, flags, files, purposes, profiles, and jobs with state and file.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  (click knows these three)
    click.echo(made(ctx.find_root().command, {}, "chunkup", "_CHUNKUP_COMPLETE").source())
    return 0
