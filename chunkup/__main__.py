"""``python -m chunkup``."""

from chunkup.cli.main import main

main()
