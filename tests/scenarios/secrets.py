"""Where a key must not be found."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a server or a gateway that repeats the key in its error",
        holds="it is hidden there, on the screen, in logs, events and the journal",
        tests=("test_secrets_dumps.py",),
        mutations=(
            Mutation(
                takes_out="what a server repeats of our headers is hidden",
                module="transport.py",
                was='text = signed.hide((await read(response, _SMALL)).decode("utf-8", "replace"))',
                becomes='text = (await read(response, _SMALL)).decode("utf-8", "replace")',
                test="test_secrets_dumps.py::test_no_answer_brings_a_secret_out[401]",
            ),
        ),
    ),
    Scenario(
        what="tracebacks with all variables, as some programs print them, and logs at their"
        " loudest",
        holds="no key, header, proxy password or environment is in any of our frames, nor in the"
        " errors' causes",
        tests=("test_secrets_dumps.py", "test_secrets.py"),
        mutations=(
            Mutation(
                takes_out="an error of aiohttp leaves without the frames that hold the headers",
                module="veil.py",
                was="        seen.__traceback__ = None",
                becomes="        pass",
                test="test_secrets_dumps.py::test_no_answer_brings_a_secret_out[reset]",
            ),
            Mutation(
                takes_out="headers show their names alone in our own frames",
                module="veil.py",
                was="        return f\"<headers: {', '.join(self)}>\"",
                becomes="        return dict.__repr__(self)",
                test="test_secrets_dumps.py::test_no_bug_of_ours_brings_a_secret_out[http_date]",
            ),
            Mutation(
                takes_out="nor does rich look into them",
                module="veil.py",
                was="        yield from self",
                becomes="        yield from self.values()",
                test="test_secrets_dumps.py::test_headers_show_their_names_alone",
            ),
            Mutation(
                takes_out="a refused setting does not bring the environment into a traceback",
                module="veil.py",
                was="            raise blank(error) from None",
                becomes="            raise",
                test="test_secrets_dumps.py::test_what_cannot_be_is_refused_without_a_secret",
            ),
            Mutation(
                takes_out="a key that cannot be one is in no frame",
                module="key.py",
                was="        del given, found",
                becomes="        pass",
                test="test_secrets_dumps.py"
                "::test_a_source_of_keys_that_gives_nonsense_is_not_quoted",
            ),
        ),
    ),
)
