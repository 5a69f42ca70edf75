"""The journal against a plain model, through closings, crashes and claims, in any order."""

import asyncio
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import Phase as Stage
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from strategies import feasible, fitting, plain_job

from chunkup.errors import Busy
from chunkup.journal import Journal
from chunkup.machine import (
    OPEN,
    Accepted,
    AnswerLost,
    Cancelled,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Created,
    Doubted,
    Fact,
    Failed,
    GenerationEnded,
    Phase,
    apply,
    fold,
)
from chunkup.models import Job, Span

# Few, so that jobs meet their like.
PATHS = st.sampled_from(["/data/a", "/data/b"])
SIZES = st.sampled_from([1, 3])


@dataclass
class Plain:
    """What one job should be: no fold, no SQL, only what a person would note on paper."""

    job: Job
    phase: Phase = Phase.NEW
    generation: int = 0
    parts: dict[int, tuple[int, str]] = field(default_factory=dict)
    lost: bool = False
    doubted: bool = False
    single: bool = False
    expires_at: int | None = None
    file_id: str | None = None
    reused: bool = False
    holder: Journal | None = None
    runs: int = 0

    def note(self, fact: Fact) -> None:
        match fact:
            case Created(upload):
                self.phase, self.generation = Phase.SENDING, self.generation + 1
                self.expires_at = upload.expires_at
            case Accepted(_, receipt):
                self.parts[receipt.span.start] = (receipt.span.stop, receipt.part_id)
            case AnswerLost():
                self.lost = True
            case GenerationEnded():
                self.phase, self.parts, self.lost = Phase.NEW, {}, False
                self.doubted = False
                self.expires_at = None
            case CompleteAsked():
                self.phase, self.single = Phase.ASKED, fact.single
                self.generation += fact.single
            case CompleteRefused():
                self.phase = Phase.NEW if self.single else Phase.SENDING
            case Doubted():
                self.doubted = True
            case Completed(file):
                self.phase, self.file_id = Phase.COMPLETED, file.id
                self.reused = fact.reused
            case Failed():
                self.phase = Phase.FAILED
            case Cancelled():
                self.phase = Phase.CANCELLED


class JournalAndModel(RuleBasedStateMachine):
    """Two journals on one file, so that a claim can be refused; either may crash."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.db"
        self.crashed: list[Journal] = []
        self.jobs: dict[str, Plain] = {}
        self.clock = 0

    @initialize()
    def open(self) -> None:
        self.journals = [self._open(), self._open()]

    def _open(self) -> Journal:
        return self.runner.run(Journal.open(self.path))

    def teardown(self) -> None:
        for journal in [*self.crashed, *getattr(self, "journals", [])]:
            self.runner.run(journal.close())
        self.runner.close()
        self.folder.cleanup()

    def pick(self, data: st.DataObject) -> tuple[Journal, Plain]:
        # By their numbers: ids are made by chance, and a run has to be repeatable.
        number = data.draw(st.integers(0, len(self.jobs) - 1))
        return self.journals[data.draw(st.integers(0, 1))], list(self.jobs.values())[number]

    @rule(which=st.integers(0, 1), path=PATHS, size=SIZES, fresh=st.booleans())
    def adopt(self, which: int, path: str, size: int, *, fresh: bool) -> None:
        self.clock += 1
        job = replace(plain_job(path, created_at=float(self.clock)), span=Span(0, size))
        same = [
            plain.job
            for plain in self.jobs.values()
            if plain.phase in OPEN and (plain.job.path, plain.job.span) == (path, Span(0, size))
        ]
        found, existed = self.runner.run(self.journals[which].adopt(job, fresh=fresh))
        if same and not fresh:
            assert (found, existed) == (same[-1], True)
        else:
            assert (found, existed) == (replace(job, id=found.id), False)
            assert found.id not in self.jobs
            self.jobs[found.id] = Plain(found)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        journal, plain = self.pick(data)
        for _ in range(data.draw(st.integers(1, 4))):
            # As the engine does it: fold, decide, record.
            state = fold(plain.job.span, self.runner.run(journal.facts(plain.job.id)))
            kinds = feasible(state)
            if not kinds:
                break
            ends = {Failed, Cancelled, *([Completed] if state.phase is Phase.NEW else [])}
            going_on = [kind for kind in kinds if kind not in ends]
            fact = data.draw(fitting(state, data.draw(st.sampled_from(going_on * 2 + kinds))))
            apply(state, fact)
            self.runner.run(journal.record(plain.job.id, fact))
            plain.note(fact)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        journal, plain = self.pick(data)
        if plain.holder is None:
            self.runner.run(journal.claim(plain.job.id, "upload"))
            plain.holder, plain.runs = journal, plain.runs + 1
        else:
            with pytest.raises(Busy):
                self.runner.run(journal.claim(plain.job.id, "upload"))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        journal, plain = self.pick(data)
        self.runner.run(journal.release(plain.job.id, plain.runs, None))
        if plain.holder is journal:
            plain.holder = None

    @rule(which=st.integers(0, 1))
    def close_and_reopen(self, which: int) -> None:
        old = self.journals[which]
        self.runner.run(old.close())
        for plain in self.jobs.values():
            if plain.holder is old:
                plain.holder = None
        self.journals[which] = self._open()

    @rule(which=st.integers(0, 1))
    def crash_and_reopen(self, which: int) -> None:
        # Never closed: in this process its claims live on, as those of a hung process would.
        self.crashed.append(self.journals[which])
        self.journals[which] = self._open()

    @invariant()
    def both_journals_say_what_the_model_says(self) -> None:
        for journal in getattr(self, "journals", []):
            lines = self.runner.run(journal.lines())
            assert [line.job.id for line in lines] == list(self.jobs)
            for line in lines:
                plain = self.jobs[line.job.id]
                state = fold(plain.job.span, self.runner.run(journal.facts(line.job.id)))
                done = sum(stop - start for start, (stop, _) in plain.parts.items())
                done = plain.job.size if plain.phase is Phase.COMPLETED else done
                assert line.job == plain.job
                assert line.phase is state.phase is plain.phase
                assert line.done == state.done == done
                assert line.parts == len(state.receipts) == len(plain.parts)
                assert line.generation == state.generation == plain.generation
                assert line.expires_at == plain.expires_at
                assert line.file_id == (state.file.id if state.file else None) == plain.file_id
                assert state.part_ids == tuple(part for _, (_, part) in sorted(plain.parts.items()))
                assert state.answer_lost is plain.lost
                assert state.doubted is plain.doubted
                assert line.reused is state.reused is plain.reused
                assert journal.holder_lives(line) is (plain.holder is not None)


TestJournalAndModel = JournalAndModel.TestCase
TestJournalAndModel.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    # Every step reaches the disk: shrinking a failure would outlast the test's time-out.
    phases=[Stage.explicit, Stage.reuse, Stage.generate],
)
