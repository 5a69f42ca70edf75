"""``python -m chunkup``, and the command ``chunkup``."""

from chunkup.cli.signals import heed


def main() -> None:
    """Run a command and exit with its code."""
    heed()  # before all that takes time to load
    from chunkup.cli.main import main as run  # noqa: PLC0415  (this is what takes the time)

    run()


if __name__ == "__main__":
    main()
