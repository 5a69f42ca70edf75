"""The life of a job: durable facts in, what to do next out.

Rules of this file
    1. Everything that changes what we believe about a job is here, as a table.
    2. It does no I/O, knows no clock, no slot, no attempt. Time is an argument.

Why facts
    The API has no way to ask how an Upload stands, so what the journal says is all that is
    known after a crash. A state that is stored can disagree with the rows beside it; a state
    that is *folded* from them cannot. A fresh job is the fold of no facts at all, and a job
    that was killed is the fold of the facts that were committed. Nothing else tells the two
    apart, which is why resuming has no code of its own.

Which facts
    A fact is something that stays true whatever dies: an Upload was opened, a part has an
    id, ``complete`` was about to be asked. Sends, retries and pauses are not facts; they are
    over when the process is. Facts about the future are not facts either, with one
    exception that proves the rule: ``CompleteAsked`` is recorded *before* the request goes
    out. ``complete`` is the one request whose loss cannot be repaired by sending again, so
    the doubt must exist before its cause does.

The table
    ::

        NEW ──Created──> SENDING ──CompleteAsked──> ASKED ──Completed──> COMPLETED
         ^                │  ^ └─Accepted, AnswerLost─┘│ │
         │                │  └──────CompleteRefused────┘ │
         └─GenerationEnded┴──────────GenerationEnded─────┘

    ``Failed`` and ``Cancelled`` end a job from each of the three open states; ``Doubted``
    leaves a job in ASKED. A file that is sent in one request has no Upload: ``CompleteAsked``
    leads it from NEW to ASKED, and ``CompleteRefused`` back. A job that was never begun may have
    its File already, of another job that sent the same content: ``Completed``, ``reused`` then,
    leads it from NEW to COMPLETED.

One request
    A server without Uploads takes a file in a single POST. The end of its body is what
    ``complete`` is to an Upload: without it the server can make nothing of the rest, and once it
    went out the File may exist whatever becomes of the answer. So ``CompleteAsked`` is recorded
    when all content has gone out and its end has not; all before it may break and be repeated
    like a part.

Two generations
    An Upload dies an hour or a day after its birth, and all its parts with it; a job does
    not. ``GenerationEnded`` returns the job to NEW with no receipts, and remembers only how
    many Uploads it had.

Doubt
    In ASKED the File may or may not exist, and the server may or may not tell. Only three
    things leave it: the File (answered or found), an answer that proves that nothing was
    done (``CompleteRefused``), or an answer that the Upload is no more together with an
    empty look (``GenerationEnded``). After ``CompleteRefused`` the proof of the source still
    stands: what the digests agreed on cannot become untrue, so ``complete`` is asked again
    with the same ids and MD5, and the source is not opened for it.

    When all that can be done was done in vain, ``Doubted`` is recorded and a person is told.
    From then on the program only looks: what is to be done is the person's to say.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from chunkup.models import Receipt, RemoteFile, Span, Upload

# The Upload's id in facts about a file that is sent in one request, without any.
SINGLE: Final = ""


class Phase(StrEnum):
    """Where a job stands. Never stored: always folded."""

    NEW = "new"
    SENDING = "sending"
    ASKED = "asked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# --- facts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created:
    """The server opened an Upload for this job."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class Accepted:
    """A part has an id."""

    upload_id: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """Some part may have been stored without our hearing of it.

    It stays true for the Upload's life. Servers that count such orphans refuse the complete
    with a complaint about size, and only this fact tells that refusal from a real one.
    """

    upload_id: str


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    """The Upload is of no use any more: expired, gone, cancelled, miscounted."""

    upload_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CompleteAsked:
    """``complete`` is about to be asked, with these ids in file order and this MD5.

    ``asked_at`` is server time. ``md5`` is None for a job that goes without. ``begun`` is when a
    single request began, in whose course a server may have dated the File.
    """

    upload_id: str
    part_ids: tuple[str, ...]
    md5: str | None
    asked_at: float
    begun: int | None = None

    @property
    def single(self) -> bool:
        """Whether it is a single request, and no Upload, that was about to be completed."""
        return self.upload_id == SINGLE

    @property
    def moments(self) -> tuple[float, ...]:
        """Server times at which a File of it may have been made."""
        return (self.asked_at,) if self.begun is None else (float(self.begun), self.asked_at)


@dataclass(frozen=True, slots=True)
class CompleteRefused:
    """``complete`` was surely not carried out: unreachable, 401, 403, 429."""

    upload_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Doubted:
    """Everything was tried to learn what came of the ask, and a person has to say."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The File exists, and it is ours.

    ``reused`` if another job had made it of the same content, and nothing was sent. Such a job
    asked for nothing, so ``md5`` is then that content's, in lowercase hex; else it is the ask's.
    """

    file: RemoteFile
    recovered: bool = False
    reused: bool = False
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job can never become a File."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person ended the job."""


Fact = (
    Created
    | Accepted
    | AnswerLost
    | GenerationEnded
    | CompleteAsked
    | CompleteRefused
    | Doubted
    | Completed
    | Failed
    | Cancelled
)

OPEN: Final = frozenset({Phase.NEW, Phase.SENDING, Phase.ASKED})

TABLE: Final[dict[Phase, dict[type[Fact], Phase]]] = {
    Phase.NEW: {
        Created: Phase.SENDING,
        CompleteAsked: Phase.ASKED,
        Completed: Phase.COMPLETED,  # if it is reused, and nothing was ever begun
        Failed: Phase.FAILED,
        Cancelled: Phase.CANCELLED,
    },
    Phase.SENDING: {
        Accepted: Phase.SENDING,
        AnswerLost: Phase.SENDING,
        GenerationEnded: Phase.NEW,
        CompleteAsked: Phase.ASKED,
        Failed: Phase.FAILED,
        Cancelled: Phase.CANCELLED,
    },
    Phase.ASKED: {
        CompleteRefused: Phase.SENDING,  # or NEW, if it was a single request
        Doubted: Phase.ASKED,
        GenerationEnded: Phase.NEW,
        Completed: Phase.COMPLETED,
        Failed: Phase.FAILED,
        Cancelled: Phase.CANCELLED,
    },
    Phase.COMPLETED: {},
    Phase.FAILED: {},
    Phase.CANCELLED: {},
}


class IllegalFact(ValueError):
    """A fact that cannot follow the ones before it. The state is as it was."""


@dataclass(frozen=True, slots=True)
class State:
    """A job as its facts tell it.

    ``receipts`` are in file order and never overlap. ``ask`` is the last ``CompleteAsked`` of
    this generation, kept after a refusal as the proof that it is. ``doubted`` once a person was
    told of the doubt about it. ``generation`` is the number of Uploads opened so far, and of
    single requests brought to their end. ``reused`` once it ended in another job's File.
    """

    span: Span
    phase: Phase = Phase.NEW
    generation: int = 0
    upload: Upload | None = None
    receipts: tuple[Receipt, ...] = ()
    answer_lost: bool = False
    ask: CompleteAsked | None = None
    doubted: bool = False
    file: RemoteFile | None = None
    reused: bool = False
    failure: Failed | None = None

    @property
    def done(self) -> int:
        """Bytes that need not be sent again."""
        if self.phase is Phase.COMPLETED:
            return self.span.size
        return sum(receipt.span.size for receipt in self.receipts)

    @property
    def missing(self) -> tuple[Span, ...]:
        """The stretches without a receipt, in file order."""
        gaps: list[Span] = []
        at = self.span.start
        for receipt in self.receipts:
            if receipt.span.start > at:
                gaps.append(Span(at, receipt.span.start))
            at = receipt.span.stop
        if at < self.span.stop:
            gaps.append(Span(at, self.span.stop))
        return tuple(gaps)

    @property
    def part_ids(self) -> tuple[str, ...]:
        """Ids of the parts that have receipts, in file order."""
        return tuple(receipt.part_id for receipt in self.receipts)


# --- folding --------------------------------------------------------------------------------


def apply(state: State, fact: Fact) -> State:
    """The state after one more fact.

    Raises:
        IllegalFact: The fact cannot be true here; ``state`` is untouched.
    """
    phase = TABLE[state.phase].get(type(fact))
    if phase is None:
        raise IllegalFact(f"{type(fact).__name__} cannot follow in {state.phase}")
    match fact:
        case Created(upload):
            return replace(state, phase=phase, upload=upload, generation=state.generation + 1)
        case Accepted(upload_id, receipt):
            _same_upload(state, upload_id)
            return replace(state, receipts=_insert(state, receipt))
        case AnswerLost(upload_id):
            _same_upload(state, upload_id)
            return replace(state, answer_lost=True)
        case GenerationEnded(upload_id):
            _same_upload(state, upload_id)
            return State(state.span, generation=state.generation)
        case CompleteAsked():
            return replace(
                _posted(state, fact) if fact.single else _asked(state, fact), phase=phase
            )
        case CompleteRefused(upload_id):
            _same_upload(state, upload_id)
            if state.doubted:
                raise IllegalFact("a person was told of a doubt, so the ask was not refused")
            if state.upload is None:
                return State(state.span, generation=state.generation)
            return replace(state, phase=phase)
        case Doubted(upload_id):
            _same_upload(state, upload_id)
            return replace(state, doubted=True)
        case Completed(file):
            if file.bytes not in {None, state.span.size}:
                raise IllegalFact(f"a File of {file.bytes} bytes is not this one")
            if state != State(state.span) if fact.reused else state.ask is None:
                raise IllegalFact("what was begun has a File of its own, and nothing else has one")
            return replace(state, phase=phase, file=file, reused=fact.reused)
        case Failed():
            return replace(state, phase=phase, failure=fact)
        case Cancelled():
            return replace(state, phase=phase)
        case _:
            assert_never(fact)


def fold(span: Span, facts: Iterable[Fact]) -> State:
    """The state after all of ``facts``, from the very beginning of a job."""
    state = State(span)
    for fact in facts:
        state = apply(state, fact)
    return state


def _asked(state: State, fact: CompleteAsked) -> State:
    """An Upload is about to be completed."""
    _same_upload(state, fact.upload_id)
    if state.missing or fact.part_ids != state.part_ids:
        raise IllegalFact("the ids asked for are not those of a whole file")
    if state.ask and state.ask.md5 != fact.md5:
        raise IllegalFact("the proof cannot change once it was given")
    return replace(state, ask=fact)


def _posted(state: State, fact: CompleteAsked) -> State:
    """A single request is about to be ended."""
    if state.upload is not None:
        raise IllegalFact("a file that is sent in parts cannot be sent in one request as well")
    if fact.part_ids:
        raise IllegalFact("a single request has no parts")
    return replace(state, ask=fact, generation=state.generation + 1)


def _same_upload(state: State, upload_id: str) -> None:
    if upload_id == SINGLE and state.upload is None and state.ask is not None:
        return
    if state.upload is None or state.upload.id != upload_id:
        raise IllegalFact("that is about another Upload")


def _insert(state: State, receipt: Receipt) -> tuple[Receipt, ...]:
    """Receipts with one more, or a refusal where it leaves the file or meets another."""
    span, receipts = receipt.span, state.receipts
    if span.start < state.span.start or span.stop > state.span.stop:
        raise IllegalFact("a receipt reaches beyond the file")
    at = bisect_left(receipts, span.start, key=lambda held: held.span.start)
    before, after = receipts[:at], receipts[at:]
    if (before and before[-1].span.stop > span.start) or (
        after and after[0].span.start < span.stop
    ):
        raise IllegalFact("two receipts for the same bytes")
    if any(held.part_id == receipt.part_id for held in receipts):
        raise IllegalFact("one part id for two stretches")
    return (*before, receipt, *after)


# --- deciding -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Create:
    """Open an Upload."""


@dataclass(frozen=True, slots=True)
class Post:
    """Send all of it in one request; record ``CompleteAsked`` before its end goes out."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send these stretches, in this order."""

    upload_id: str
    missing: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Record ``CompleteAsked``, then ask.

    ``proof`` is the earlier ask where one was refused; without it the digests must agree first.
    """

    upload_id: str
    part_ids: tuple[str, ...]
    proof: CompleteAsked | None


@dataclass(frozen=True, slots=True)
class Settle:
    """Find out what became of this ask. The source is not opened for it.

    ``look_only`` where a person was told of the doubt: nothing is asked a second time then.
    """

    ask: CompleteAsked
    look_only: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """Record ``GenerationEnded``: this Upload cannot be finished."""

    upload_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """There is nothing left to do. Exactly one of the fields tells why, or it was cancelled."""

    file: RemoteFile | None = None
    failure: Failed | None = None


Action = Create | Post | Send | Ask | Settle | End | Finish


def next_action(state: State, now: float, *, single: bool = False) -> Action:
    """What to do next. ``now`` is server time; ``single`` asks for one request, not for parts.

    It knows nothing of what is already under way: the caller subtracts that.
    """
    match state:
        case State(phase=Phase.NEW):
            return Post() if single else Create()
        case State(phase=Phase.SENDING, upload=Upload() as upload):
            if upload.expires_at is not None and now >= upload.expires_at:
                return End(upload.id, "expired")
            if missing := state.missing:
                return Send(upload.id, missing)
            return Ask(upload.id, state.part_ids, state.ask)
        case State(phase=Phase.ASKED, ask=CompleteAsked() as ask):
            return Settle(ask, look_only=state.doubted)
        case _:
            return Finish(file=state.file, failure=state.failure)
