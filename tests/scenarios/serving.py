"""What happens to the machine that the embedded server runs on."""

from scenarios.scenario import Mutation, Scenario

_DISK = "test_server_disk.py"

SCENARIOS = (
    Scenario(
        what="`chunkup serve`: killed at any system call, in a part or while it completes",
        holds="what it acknowledged is there, nothing half done is listed or left; started again,"
        " it serves the same uploads, which go on by themselves",
        tests=("test_server_killed.py", "test_server_store.py"),
        mutations=(),
    ),
    Scenario(
        what="`chunkup serve`: a disk that is full or broken",
        holds="a refusal that says so, and nothing that was acknowledged is lost; Files can be"
        " deleted even without any room",
        tests=(_DISK,),
        mutations=(
            Mutation(
                takes_out="a disk that refuses is an answer, and no bug of the server",
                module="server/answers.py",
                was="    except (OSError, sqlite3.Error) as error:\n",
                becomes="    except ZeroDivisionError as error:\n",
                test=f"{_DISK}::test_a_disk_that_refuses_is_an_answer_and_no_traceback",
            ),
            Mutation(
                takes_out="a body that cannot be kept leaves nothing behind",
                module="server/content.py",
                was="            self._path.rename(path)\n            self._close()\n",
                becomes="            self._close()\n            self._path.rename(path)\n",
                test=f"{_DISK}::test_a_body_that_cannot_be_given_its_name_leaves_nothing",
            ),
        ),
    ),
    Scenario(
        what="`chunkup serve --dir` on a folder of somebody's own, one that is being served, or"
        " one whose rows are damaged",
        holds="refused with a sentence; nothing in it is swept or changed",
        tests=(_DISK,),
        mutations=(
            Mutation(
                takes_out="files that no server wrote are not swept",
                module="server/store.py",
                was="        _require_ours(directory, rows)\n",
                becomes="",
                test=f"{_DISK}::test_a_folder_of_somebodys_own_files_is_refused_and_left_alone",
            ),
            Mutation(
                takes_out="a folder that is in use is refused with a sentence",
                module="cli/serve.py",
                was="except (OSError, sqlite3.Error, StoreInUseError, ForeignFolderError) as",
                becomes="except OSError as",
                test=f"{_DISK}::test_a_folder_that_is_being_served_is_refused",
            ),
        ),
    ),
)
