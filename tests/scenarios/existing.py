"""What is on the server already and is not sent again, and what only looks so."""

from scenarios.scenario import Mutation, Scenario

_EXISTING = "test_existing.py::"
_REUSE = "test_journal_reuse.py::"
_MACHINE = "test_machine.py::"

SCENARIOS = (
    Scenario(
        what="content that was sent before: under another name, as a piece of another file, by"
        " another account or for another purpose; a File that is gone since",
        holds="`--skip-existing` sends nothing where size, MD5, purpose and account agree and the"
        " server, asked, still has that File; everything else is sent",
        tests=("test_existing.py", "test_journal_reuse.py"),
        mutations=(
            Mutation(
                takes_out="only equal content is the same",
                module="existing.py",
                was='like.get(md5 or "", {})',
                becomes="{id_: file for of in like.values() for id_, file in of.items()}",
                test=_EXISTING + "test_content_of_equal_size_that_differs_is_not_asked_for",
            ),
            Mutation(
                takes_out="what another purpose has is not taken",
                module="journal/reuse.py",
                was="if (purpose, size) in sought:",
                becomes="if size in {of for _, of in sought}:",
                test=_REUSE + "test_only_what_has_a_purpose_and_size_that_are_sought_is_read",
            ),
            Mutation(
                takes_out="what another key sent is not taken",
                module="journal/reuse.py",
                was="        AND (key_hash IS NULL OR :key_hash IS NULL OR key_hash = :key_hash)\n",
                becomes="",
                test=_EXISTING + "test_what_another_account_has_is_not_asked_for",
            ),
            Mutation(
                takes_out="what is gone from the server is sent again",
                module="existing.py",
                was="        except NotFound:\n            return None\n",
                becomes="        except NotFound:\n            return file\n",
                test=_EXISTING + "test_a_file_that_was_deleted_is_not_there",
            ),
            Mutation(
                takes_out="what the server has is compared",
                module="existing.py",
                was="return found if same and not gone else None",
                becomes="return found",
                test=_EXISTING + "test_the_server_has_the_last_word",
            ),
            Mutation(
                takes_out="a server that will not say is no server without the File",
                module="existing.py",
                was="if error.answer is None or error.answer.status not in _NO_SUCH:",
                becomes="if False:",
                test=_EXISTING + "test_where_the_server_will_not_say_nothing_is_guessed",
            ),
            Mutation(
                takes_out="what was begun makes a File of its own",
                module="machine.py",
                was="if state != State(state.span) if fact.reused else state.ask is None:",
                becomes="if False:",
                test=_MACHINE + "test_what_was_begun_ends_in_no_file_of_another_job",
            ),
        ),
    ),
    Scenario(
        what="a manifest that somebody else wrote: Files of other sizes, purposes and accounts,"
        " ids that would be paths",
        holds="the server is asked about each File, under an id that stays one; what the journal"
        " knows of a File counts more",
        tests=("test_existing.py",),
        mutations=(
            Mutation(
                takes_out="what a manifest has of another account is not taken",
                module="existing.py",
                was="and _same(entry.account, account)",
                becomes="and account",
                test=_EXISTING + "test_another_place_is_another_account",
            ),
            Mutation(
                takes_out="an id that is none is not asked for",
                module="existing.py",
                was="or not _usable(file.id)",
                becomes="",
                test=_EXISTING + "test_a_manifests_id_never_becomes_another_address",
            ),
            Mutation(
                takes_out="the journal's word counts more",
                module="existing.py",
                was="if kept.file.id not in ids:",
                becomes="if True:",
                test=_EXISTING + "test_what_the_journal_knows_of_a_file_overrules_a_manifest",
            ),
        ),
    ),
)
