"""Commands over a few files against notes on paper: what would the same command send next?"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sets import cancel, complete, fail, told, wish
from sqlite_utils import Database

from chunkup.journal import Adopted, Journal
from chunkup.journal.sets import adopt_all, suspects
from chunkup.models import Fingerprint, Job, Span

NAMES = "abc"
COMMANDS = st.text(NAMES, min_size=1, max_size=4)


@dataclass
class Note:
    """A job on paper. ``home`` numbers its set; ``end`` is None while it is open."""

    id: str
    name: str
    home: int
    content: int
    end: str | None = None
    told: bool = False

    @property
    def is_left(self) -> bool:
        """Whether it keeps its set unfinished."""
        return self.end in {None, "failed"} or (self.end == "completed" and not self.told)


class _Asked(Exception):
    """Carries an answer out of a transaction that is not to happen."""

    def __init__(self, answer: list[Adopted]) -> None:
        self.answer = answer


class Commands(RuleBasedStateMachine):
    """One journal, as commands come and go, are killed, fail, and share files."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.db"
        self.notes: list[Note] = []
        self.commands: list[str] = []
        self.sets = 0
        self.clock = 1.0
        # What each file holds, and when it was last written: content can come back.
        self.content = dict.fromkeys(NAMES, 0)
        self.written = dict.fromkeys(NAMES, 1)

    @initialize()
    def open(self) -> None:
        self.journal = self.runner.run(Journal.open(self.path))

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.runner.run(self.journal.close())
        self.runner.close()
        self.folder.cleanup()

    # --- on paper ---------------------------------------------------------------------------

    def unfinished(self, home: int) -> bool:
        return any(note.home == home and note.is_left for note in self.notes)

    def last(self, name: str) -> Note | None:
        """What counts of a file: the open job, or the last that nobody cancelled."""
        mine = [note for note in self.notes if note.name == name and note.end != "cancelled"]
        return next((note for note in mine if note.end is None), mine[-1] if mine else None)

    def there(self, name: str) -> Note | None:
        """The job that the same command would not make anew."""
        note = self.last(name)
        if note is None or note.end is None:
            return note
        done = note.end == "completed" and note.content == self.content[name]
        return note if done and self.unfinished(note.home) else None

    def expected(self, names: str) -> list[tuple[str, str | None]]:
        """For each file of a command, whether it is sent, and for which job if there is one."""
        answers: list[tuple[str, str | None]] = []
        for name in names:
            note = self.there(name)
            if note is None:
                answers.append(("new", None))
            else:
                answers.append(("done" if note.end else "open", note.id))
        return answers

    def write_down(self, names: str, members: Sequence[Adopted], *, fresh: bool) -> None:
        found = {name: None if fresh else self.there(name) for name in names}
        homes = [note.home for note in found.values() if note]
        home = homes[0] if homes else None
        for name, member in zip(names, members, strict=True):
            if found[name] is not None:
                continue
            before = None if fresh else self.last(name)
            if home is None and before is not None and self.unfinished(before.home):
                home = before.home
            if home is None:
                self.sets += 1
                home = self.sets
            # A failure that is made good, and what a set had of a file before it changed,
            # are for themselves from now on.
            for note in [note for note in self.notes if note.name == name]:
                if note.end == "failed" or (note is before and note.home == home):
                    self.sets += 1
                    note.home = self.sets
            self.notes.append(Note(member.job.id, name, home, self.content[name]))
            found[name] = self.notes[-1]

    # --- in the journal ---------------------------------------------------------------------

    def wanted(self, names: str) -> list[Job]:
        self.clock += 1
        wishes = []
        for place, name in enumerate(names):
            at, number = self.clock + place / 100, len(self.commands)
            job = wish(name, at=at, set_id=f"command {number}", mtime=self.written[name])
            size = job.size + self.content[name] // 2
            seen = Fingerprint(size, self.written[name], 2, 3)
            wishes.append(replace(job, fingerprint=seen, span=Span(0, size)))
        return wishes

    def md5(self, name: str) -> str:
        return f"{name}{self.content[name]}"

    def look(self, names: str) -> list[tuple[str, str | None]]:
        """What a command would find, without its happening."""
        wanted = self.wanted(names)

        def work(db: Database) -> None:
            proven = [
                suspect.job.id
                for suspect in suspects(db, wanted)
                if suspect.md5 == self.md5(Path(suspect.job.path).name)
            ]
            raise _Asked(adopt_all(db, wanted, proven, fresh=False))

        try:
            self.runner.run(self.journal._do(work, writes=True))
        except _Asked as asked:
            return [
                (member.standing.value, None if member.standing == "new" else member.job.id)
                for member in asked.answer
            ]
        raise AssertionError("nothing was asked")

    # --- what happens -----------------------------------------------------------------------

    @rule(names=COMMANDS)
    def start_over(self, names: str) -> None:
        self.command(names, fresh=True)

    @rule(names=COMMANDS)
    def give_command(self, names: str) -> None:
        self.command(names, fresh=False)

    @precondition(lambda self: self.commands)
    @rule(back=st.integers(1, 3))
    def give_the_same_command(self, back: int) -> None:
        self.command(self.commands[-min(back, len(self.commands))], fresh=False)

    def command(self, names: str, *, fresh: bool) -> None:
        self.commands.append(names)
        wanted = self.wanted(names)
        if fresh:
            for job in self.runner.run(self.journal.open_like(wanted)):
                self.runner.run(cancel(self.journal, job))
                self.note_of(job.id).end = "cancelled"
        expected = [("new", None)] * len(names) if fresh else self.expected(names)
        proven = [
            suspect.job.id
            for suspect in self.runner.run(self.journal.suspects(wanted))
            if suspect.md5 == self.md5(Path(suspect.job.path).name)
        ]
        members = self.runner.run(self.journal.adopt_all(wanted, proven=proven, fresh=fresh))
        for (standing, job_id), member in zip(expected, members, strict=True):
            assert member.standing == standing
            assert job_id in {None, member.job.id}
            assert (member.file is not None) is (standing == "done")
        # A file that is named twice is sent once.
        assert len({member.job.id for member in members}) == len(set(names))
        self.write_down(names, members, fresh=fresh)

    def note_of(self, job_id: str) -> Note:
        (note,) = [note for note in self.notes if note.id == job_id]
        return note

    def pick(self, data: st.DataObject, notes: list[Note]) -> tuple[Note, Job]:
        note = data.draw(st.sampled_from(notes), "note")
        return note, self.runner.run(self.journal.job(note.id))

    @property
    def open_notes(self) -> list[Note]:
        return [note for note in self.notes if note.end is None]

    @property
    def untold(self) -> list[Note]:
        return [note for note in self.notes if note.end == "completed" and not note.told]

    @precondition(lambda self: self.open_notes)
    @rule(data=st.data(), tell=st.booleans())
    def finish(self, data: st.DataObject, *, tell: bool) -> None:
        note, job = self.pick(data, self.open_notes)
        # What a job sends is what it was made for; a change is another test's matter.
        self.runner.run(complete(self.journal, job, md5=f"{note.name}{note.content}"))
        note.end = "completed"
        if tell:
            self.runner.run(told(self.journal, job))
            note.told = True

    @precondition(lambda self: self.open_notes)
    @rule(data=st.data())
    def come_to_rest(self, data: st.DataObject) -> None:
        """Whatever is open ends: most of it well."""
        for note in self.open_notes:
            job = self.runner.run(self.journal.job(note.id))
            end = data.draw(st.sampled_from(["told", "told", "told", "completed", "failed"]))
            if end == "failed":
                self.runner.run(fail(self.journal, job))
                note.end = "failed"
                continue
            self.runner.run(complete(self.journal, job, md5=f"{note.name}{note.content}"))
            note.end = "completed"
            if end == "told":
                self.runner.run(told(self.journal, job))
                note.told = True

    @precondition(lambda self: self.untold)
    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        note, job = self.pick(data, self.untold)
        self.runner.run(told(self.journal, job))
        note.told = True

    @precondition(lambda self: self.open_notes)
    @rule(data=st.data(), failed=st.booleans())
    def end(self, data: st.DataObject, *, failed: bool) -> None:
        note, job = self.pick(data, self.open_notes)
        self.runner.run((fail if failed else cancel)(self.journal, job))
        note.end = "failed" if failed else "cancelled"

    @rule(name=st.sampled_from(NAMES), change=st.booleans())
    def write(self, name: str, *, change: bool) -> None:
        """The file is written: with other content, or with the same."""
        self.written[name] += 1
        self.content[name] += change

    @rule()
    def put_the_clock_back(self) -> None:
        self.clock = 1.0

    @rule()
    def kill(self) -> None:
        self.runner.run(self.journal.close())
        self.journal = self.runner.run(Journal.open(self.path))

    @rule()
    def forget_the_old(self) -> None:
        gone = self.runner.run(self.journal.prune(time.time() + 3600))
        kept = {
            note.home
            for note in self.notes
            if note.end is None or (note.end == "completed" and not note.told)
        }
        assert {job.id for job in gone} == {note.id for note in self.notes if note.home not in kept}
        self.notes = [note for note in self.notes if note.home in kept]

    # --- and what always holds --------------------------------------------------------------

    @invariant()
    def the_same_command_would_send_what_the_paper_says(self) -> None:
        for names in {*self.commands[-2:], NAMES}:
            if hasattr(self, "journal"):
                assert self.look(names) == self.expected(names)

    @invariant()
    def sets_are_as_on_paper(self) -> None:
        if not hasattr(self, "journal"):
            return
        lines = self.runner.run(self.journal.lines())
        assert {line.job.id for line in lines} == {note.id for note in self.notes}
        homes: dict[str, set[int]] = {}
        for line in lines:
            homes.setdefault(line.job.set_id, set()).add(self.note_of(line.job.id).home)
        assert all(len(found) == 1 for found in homes.values())
        assert len(homes) == len({note.home for note in self.notes})
        assert len(self.open_notes) == len({note.name for note in self.open_notes})


TestCommands = Commands.TestCase
TestCommands.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    # Every step reaches the disk: shrinking a failure would outlast the test's time-out.
    phases=[Stage.explicit, Stage.reuse, Stage.generate],
)
