"""Keys that are revoked, replaced or not to be had."""

from scenarios.scenario import Mutation, Scenario

SCENARIOS = (
    Scenario(
        what="a key that is revoked in the middle",
        holds="one 401 stops all workers, receipts are kept, and `resume` goes on once it is set",
        tests=("test_wire_keys.py",),
        mutations=(
            Mutation(
                takes_out="a request is not repeated with the key that was refused",
                module="transport.py",
                was="refusal.retryable |= await self.endpoint.target(method, path) != target",
                becomes="refusal.retryable |= bool(await self.endpoint.target(method, path))",
                test="test_wire_keys.py::"
                "test_a_source_that_has_no_other_key_is_asked_once_more_and_that_is_all",
            ),
        ),
    ),
    Scenario(
        what="a key that is replaced in the middle (a callable gives it)",
        holds="each request that was refused is sent once more with the new key, at no cost",
        tests=("test_wire_keys.py", "test_secrets.py"),
        mutations=(
            Mutation(
                takes_out="a source is asked again after a refusal",
                module="transport.py",
                was="refusal.retryable |= await self.endpoint.target(method, path) != target",
                becomes="refusal.retryable |= False",
                test="test_wire_keys.py::test_parts_in_flight_go_on_with_the_new_key",
            ),
            Mutation(
                takes_out="a new key costs no retry",
                module="retry.py",
                was="                return before\n",
                becomes="                return before or not self.retries\n",
                test="test_wire_keys.py::test_a_request_is_sent_once_more_with_another_key",
            ),
            Mutation(
                takes_out="a second refusal is the last",
                module="retry.py",
                was="before, renewed = renewed, True",
                becomes="before, renewed = state.attempt_number > 3, True",
                test="test_wire_keys.py::test_a_second_refusal_is_the_last",
            ),
            Mutation(
                takes_out="the first key names the account",
                module="key.py",
                was="return self._first or await self.now()",
                becomes="return await self.now()",
                test="test_wire_keys.py::test_a_new_key_within_an_uploader_is_no_other_account",
            ),
        ),
    ),
    Scenario(
        what="a job that is gone on with under another key, or the same for another project",
        holds="whose it is, the server's own word says where it has one (organization, project), "
        "else the key; no Upload is ever made for another account",
        tests=("test_run.py", "test_wire_keys.py"),
        mutations=(
            Mutation(
                takes_out="whose an Upload is, the server knows better than a hash of the key",
                module="run.py",
                was="            self._same_account = upload.owner == transport.owner\n",
                becomes="            pass\n",
                test="test_run.py::"
                "test_a_key_that_speaks_for_another_project_now_makes_no_upload_there",
            ),
        ),
    ),
    Scenario(
        what="a source of keys that raises, hangs or gives nonsense",
        holds="nothing is sent, the error is ours and shows no key, the job can go on",
        tests=("test_wire_keys.py", "test_secrets.py"),
        mutations=(
            Mutation(
                takes_out="an error of the source becomes one of ours",
                module="key.py",
                was="except Exception as error:",
                becomes="except EOFError as error:",
                test="test_wire_keys.py::"
                "test_a_source_that_fails_is_asked_again_as_a_server_would_be",
            ),
            Mutation(
                takes_out="a key that no header can carry is not sent",
                module="key.py",
                was="return key if sendable(key) else None",
                becomes="return key or None",
                test="test_wire_keys.py::test_what_cannot_be_a_key_is_refused_and_nothing_is_sent",
            ),
            Mutation(
                takes_out="a completion that had no key leaves no doubt",
                module="finalizer.py",
                was="Untrusted | WantsCertificate | ProxyRefused | Refused",
                becomes="Untrusted | WantsCertificate | ProxyRefused",
                test="test_wire_keys.py::test_a_source_that_breaks_leaves_a_job_that_can_go_on",
            ),
        ),
    ),
)
