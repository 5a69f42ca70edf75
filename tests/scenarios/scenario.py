"""What chunkup survives, as data: what can happen, what must hold then, and who would notice.

A scenario names the tests that show it. A mutation takes one protection out of the source and
names the test that fails without it; ``test_mutations.py`` carries every one of them out.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One protection, and its absence.

    Attributes:
        takes_out: The protection, in words, such as ``an old File is not taken for ours``.
        module: Path of the file below ``chunkup/``, such as ``search.py``.
        was: Text that stands exactly once in that file, as many lines as it takes.
        becomes: What stands there instead; the file still has to compile.
        test: The test that fails then, such as ``test_search.py::test_old_file``; one with
            parameters is named whole, or without them for all of them together.
    """

    takes_out: str
    module: str
    was: str
    becomes: str
    test: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that a server, a network or a machine can do.

    Attributes:
        what: What happens, as the page of what is survived names it.
        holds: What is true nevertheless, as that page says it.
        tests: Tests, or whole test files, that show it; paths below ``tests/``.
        mutations: The protections that it takes.
    """

    what: str
    holds: str
    tests: tuple[str, ...]
    mutations: tuple[Mutation, ...]
