"""What happens to the journal: its disk, its bytes, its place."""

from scenarios.scenario import Mutation, Scenario

_ELSEWHERE = "test_journal_elsewhere.py"
_MISREAD = f"{_ELSEWHERE}::test_what_no_run_can_have_written_is_damage"

SCENARIOS = (
    Scenario(
        what="a journal's disk that is full, read-only, out of names or broken, from the start or"
        " at any write or flush",
        holds="the command stops with a sentence (75) and writes no more; once the disk is in"
        " order it goes on, and only what could not be noted is sent again",
        tests=("test_journal_disks.py", "test_journal_commits.py", "test_journal_places.py"),
        mutations=(
            Mutation(
                takes_out="after its disk failed once, a process writes nothing more",
                module="journal/scribe.py",
                was="            self._broken = failure\n",
                becomes="            pass\n",
                test="test_journal_commits.py"
                "::test_after_a_full_disk_nothing_more_is_written_but_reading_goes_on",
            ),
            Mutation(
                takes_out="an uploader whose disk had failed opens its journal anew",
                module="stops.py",
                was="self._journal is not None and self._journal.spent:",
                becomes="False:",
                test="test_journal_disks.py::test_an_uploader_goes_on_once_there_is_room_again",
            ),
            Mutation(
                takes_out="what could not be given back has nothing to add to what is known",
                module="dataset.py",
                was="    with suppress(ChunkupError):\n        await journal.unreserve(ids)\n",
                becomes="    await journal.unreserve(ids)\n",
                test="test_journal_disks.py::test_a_job_that_the_disk_stopped_says_so_once",
            ),
            Mutation(
                takes_out="where no job is known, the hint is a look at the disk",
                module="cli/advice.py",
                was='None if held else case.command("doctor")',
                becomes="None",
                test="test_journal_disks.py"
                "::test_what_cannot_be_opened_at_all_is_a_sentence_and_a_look_at_it",
            ),
        ),
    ),
    Scenario(
        what="a journal that was cut short, has another byte anywhere, or half of a commit",
        holds="refused with a sentence and kept as it is, or gone on with; never another job's"
        " File, another place, or a File that mixes",
        tests=(_ELSEWHERE, "test_journal_damage.py"),
        mutations=(
            Mutation(
                takes_out="a File's id that is another in one of its two places is damage",
                module="journal/damage.py",
                was="    if file.id != file_id:\n",
                becomes="    if not file.id:\n",
                test=f"{_ELSEWHERE}::test_a_file_id_that_is_another_is_no_file_of_the_job",
            ),
            Mutation(
                takes_out="a row that cannot be understood is damage, and no bug",
                module="journal/scribe.py",
                was="if damage := misread(error, writing=work.writes):",
                becomes="if damage := None:",
                test=_MISREAD,
            ),
            Mutation(
                takes_out="receipts that no run can have written are damage, and no bug",
                module="ledger.py",
                was="        except IllegalFact as error:\n            raise damaged",
                becomes="        except ZeroDivisionError as error:\n            raise damaged",
                test=_MISREAD,
            ),
            Mutation(
                takes_out="a text that became bytes is damage, and no bug",
                module="journal/damage.py",
                was="        if not isinstance(value, kind):\n",
                becomes="        if False:\n",
                test="test_journal_elsewhere.py"
                "::test_a_text_that_became_bytes_is_damage_and_is_met_where_it_is_read",
            ),
            Mutation(
                takes_out="tables whose own definition is no text are damage, and no bug",
                module="journal/opening.py",
                was="    except (UnicodeDecodeError, KeyError) as error:  # of",
                becomes="    except ZeroDivisionError as error:  # of",
                test=_MISREAD,
            ),
            Mutation(
                takes_out="a damaged journal is not moved over an earlier one",
                module="journal/damage.py",
                was="    while aside.exists():\n",
                becomes="    while not aside:\n",
                test=f"{_ELSEWHERE}::test_a_damaged_journal_is_moved_aside_and_never_over_another",
            ),
        ),
    ),
    Scenario(
        what="a journal copied to another machine, of an earlier version, in a folder that others"
        " write to, on a file system without locks, or where no file can be",
        holds="the copy goes on, once it knows where the file is (`--source`); an earlier one is"
        " brought up to date; all others are refused at once",
        tests=(_ELSEWHERE, "test_journal_migration.py", "test_journal_places.py"),
        mutations=(),
    ),
    Scenario(
        what="a file whose name is no UTF-8, and that is gone",
        holds="a sentence that names it; the job is given back, and says why it stopped",
        tests=(_ELSEWHERE,),
        mutations=(
            Mutation(
                takes_out="why a run ended can be noted, whatever bytes are in the sentence",
                module="journal/journal.py",
                was="as_text(error.message) if error else None,",
                becomes="error.message if error else None,",
                test=f"{_ELSEWHERE}::test_any_sentence_can_be_noted",
            ),
        ),
    ),
)
