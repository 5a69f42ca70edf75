"""docs/reference.md is what the commands say of themselves.

    python tests/test_reference.py

writes it anew.
"""

import os
import subprocess
import sys
from pathlib import Path

from chunkup.cli.main import _COMMANDS

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Reference

Every command and flag, as `--help` says it. A variable in brackets sets the same as its flag.
"""


def page() -> str:
    """The page as it should be, from the real commands."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CHUNKUP")}
    code = (
        "import sys, click\n"
        "from chunkup.cli.main import cli\n"
        "found = [[]]\n"
        "for name in sys.argv[1:]:\n"
        "    command = cli.get_command(click.Context(cli), name)\n"
        "    found += [[name], *([name, word] for word in getattr(command, 'commands', ()))]\n"
        "for words in found:\n"
        "    print('\\f' + ' '.join(['chunkup', *words]))\n"
        "    cli.main([*words, '--help'], 'chunkup', standalone_mode=False, terminal_width=90)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *_COMMANDS],
        capture_output=True,
        text=True,
        check=True,
        env={**environ, "COLUMNS": "90", "NO_COLOR": "1"},
    )
    sections = [text.partition("\n") for text in done.stdout.split("\f")[1:]]
    shown = [f"\n## {name}\n\n```text\n{_trimmed(text)}\n```\n" for name, _, text in sections]
    return HEAD + "".join(shown)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_the_reference_is_what_the_commands_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python tests/test_reference.py"


def test_every_command_stands_in_it() -> None:
    text = PAGE.read_text("utf-8")
    for name in _COMMANDS:
        assert f"\n## chunkup {name}\n" in text
    for name in ("list", "show", "download", "delete", "create"):
        assert f"\n## chunkup files {name}\n" in text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
