"""Whatever happens, and wherever it is cut off, following the machine ends in a File."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from hypothesis import given
from hypothesis import strategies as st
from strategies import Life, lives, spans

from chunkup.machine import (
    OPEN,
    SINGLE,
    Accepted,
    AnswerLost,
    Ask,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Create,
    Created,
    Doubted,
    End,
    Fact,
    Finish,
    GenerationEnded,
    Phase,
    Post,
    Send,
    Settle,
    fold,
    next_action,
)
from chunkup.models import Receipt, RemoteFile, Span, Upload
from chunkup.planner import cut


class Luck(StrEnum):
    """What becomes of one request."""

    FINE = "fine"
    LOST = "lost"
    REFUSED = "refused"
    GONE = "gone"
    LATE = "late"
    KILLED = "killed"


@dataclass
class World:
    """A server, a network and a client that does what ``next_action`` says, and no more.

    What has a receipt is kept here a second time, byte by byte, so that nothing of the
    machine is needed to tell what would be sent twice.
    """

    span: Span
    facts: list[Fact]
    luck: Iterator[Luck]
    now: float = 0.0
    single: bool = False
    held: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for fact in self.facts:
            self._remember(fact)

    def run(self) -> RemoteFile | None:
        for _ in range(300):
            if next(self.luck, Luck.FINE) is Luck.LATE:
                self.now += 50
            # Every step starts from the rows alone, as after a kill.
            match next_action(fold(self.span, self.facts), self.now, single=self.single):
                case Post():
                    self._add(CompleteAsked(SINGLE, (), "5d41", self.now, int(self.now)))
                case Create():
                    born = int(self.now)
                    self._add(Created(Upload(f"upload_{len(self.facts)}", born, born + 100)))
                case Send(upload_id, missing):
                    self._send(upload_id, missing)
                case Ask(upload_id, part_ids, proof):
                    md5 = proof.md5 if proof else "5d41"
                    self._add(CompleteAsked(upload_id, part_ids, md5, self.now))
                case Settle(ask, look_only):
                    self._settle(ask.upload_id, look_only=look_only)
                case End(upload_id, reason):
                    self._add(GenerationEnded(upload_id, reason))
                case Finish(file):
                    return file
        raise AssertionError("the machine leads nowhere")

    def _send(self, upload_id: str, missing: tuple[Span, ...]) -> None:
        whole = set(range(self.span.start, self.span.stop))
        wanted = {at for gap in missing for at in range(gap.start, gap.stop)}
        assert wanted == whole - self.held
        parts = list(cut(missing, (), part_size=3))
        for part in reversed(parts) if len(self.facts) % 2 else parts:
            match next(self.luck, Luck.FINE):
                case Luck.FINE | Luck.LATE:
                    span = Span(part.start, part.stop)
                    part_id = f"part_{len(self.facts)}"
                    self._add(Accepted(upload_id, Receipt(span, part_id, "aa")))
                case Luck.LOST:
                    self._add(AnswerLost(upload_id))
                case Luck.GONE:
                    self._add(GenerationEnded(upload_id, "gone"))
                    return
                case Luck.KILLED:
                    return
                case Luck.REFUSED:
                    pass

    def _settle(self, upload_id: str, *, look_only: bool) -> None:
        match next(self.luck, Luck.FINE):
            case Luck.REFUSED if look_only:
                pass
            case Luck.REFUSED:
                self._add(CompleteRefused(upload_id, "503"))
            case Luck.GONE | Luck.LATE:
                self._add(GenerationEnded(upload_id, "gone, and no File to see"))
            case Luck.LOST:
                self._add(Doubted(upload_id))
            case Luck.KILLED:
                pass
            case Luck.FINE:
                self._add(Completed(RemoteFile("file-1", self.span.size, 0, "a", "batch")))

    def _add(self, fact: Fact) -> None:
        self._remember(fact)
        self.facts.append(fact)

    def _remember(self, fact: Fact) -> None:
        if isinstance(fact, Accepted):
            sent = range(fact.receipt.span.start, fact.receipt.span.stop)
            assert self.held.isdisjoint(sent), "sent what has a receipt"
            self.held.update(sent)
        elif isinstance(fact, GenerationEnded):
            self.held.clear()


def proves_whole(span: Span, facts: Iterable[Fact]) -> None:
    state = fold(span, facts)
    assert state.phase is Phase.COMPLETED
    if state.ask is not None and state.ask.single:
        return
    assert state.missing == ()
    assert state.ask is not None
    assert state.ask.part_ids == state.part_ids


@given(
    span=spans(longest=12),
    luck=st.lists(st.sampled_from(Luck), max_size=40),
    single=st.booleans(),
)
def test_whatever_the_world_does_the_machine_ends_in_a_whole_file(
    span: Span, luck: list[Luck], *, single: bool
) -> None:
    world = World(span, [], iter(luck), single=single)
    assert world.run() is not None
    proves_whole(span, world.facts)


@given(
    span=spans(longest=12),
    luck=st.lists(st.sampled_from(Luck), max_size=40),
    single=st.booleans(),
)
def test_from_every_prefix_of_a_run_the_job_is_finished_and_sends_nothing_twice(
    span: Span, luck: list[Luck], *, single: bool
) -> None:
    world = World(span, [], iter(luck), single=single)
    world.run()
    for length in range(len(world.facts) + 1):
        resumed = World(span, world.facts[:length], iter(()), now=world.now, single=single)
        assert resumed.run() is not None
        proves_whole(span, resumed.facts)


@given(lives(), st.lists(st.sampled_from(Luck), max_size=20))
def test_any_legal_life_that_is_still_open_can_be_finished(life: Life, luck: list[Luck]) -> None:
    world = World(life.span, list(life.facts), iter(luck))
    file = world.run()
    if life.state.phase in OPEN:
        assert file is not None
        proves_whole(life.span, world.facts)
    else:
        assert world.facts == list(life.facts)
