"""What property tests draw: spans, jobs, facts that fit a state, whole legal lives."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from chunkup.machine import (
    SINGLE,
    TABLE,
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
    State,
    apply,
)
from chunkup.models import Account, Fingerprint, Job, Receipt, RemoteFile, Span, Upload

FACTS: tuple[type[Fact], ...] = (
    Created,
    Accepted,
    AnswerLost,
    GenerationEnded,
    CompleteAsked,
    CompleteRefused,
    Doubted,
    Completed,
    Failed,
    Cancelled,
)

words = st.text(max_size=12)
moments = st.integers(0, 2**40)
digests = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def spans(draw: st.DrawFn, longest: int = 40, latest: int = 1000) -> Span:
    """A stretch somewhere in a file."""
    start = draw(st.integers(0, latest))
    return Span(start, start + draw(st.integers(1, longest)))


@st.composite
def tilings(draw: st.DrawFn, span: Span) -> tuple[Span, ...]:
    """A stretch cut anywhere, without gaps, in file order."""
    cuts = draw(st.sets(st.integers(span.start + 1, span.stop - 1))) if span.size > 1 else set()
    edges = [span.start, *sorted(cuts), span.stop]
    return tuple(Span(left, right) for left, right in pairwise(edges))


@st.composite
def scattered(draw: st.DrawFn, span: Span) -> tuple[Span, ...]:
    """Stretches within ``span``, in file order, that do not overlap; perhaps none."""
    return tuple(piece for piece in draw(tilings(span)) if draw(st.booleans()))


def remote_files(size: int | None) -> st.SearchStrategy[RemoteFile]:
    """A File that the server may answer with; its size is ``size`` or not known."""
    return st.builds(
        RemoteFile,
        id=st.text("abcdef0123456789", min_size=1, max_size=8).map("file-{}".format),
        bytes=st.sampled_from([size, None]),
        created_at=moments,
        filename=words,
        purpose=words,
        status=st.none() | words,
        expires_at=st.none() | moments,
        status_details=st.none() | words,
    )


def fitting(state: State, kind: type[Fact]) -> st.SearchStrategy[Fact]:
    """Facts of one kind that say nothing wrong about ``state``; the table may refuse them."""
    upload = state.upload.id if state.upload else "upload_none"
    if state.phase is Phase.ASKED and state.upload is None:
        upload = SINGLE
    if kind is Created:
        ours = f"upload_{state.generation + 1}"
        born = st.builds(
            *(Upload, st.just(ours), moments, st.none() | moments), owner=st.none() | words
        )
        return st.builds(Created, born)
    if kind is Accepted:
        return _accepted(upload, state)
    if kind is AnswerLost:
        return st.just(AnswerLost(upload))
    if kind is GenerationEnded:
        return st.builds(GenerationEnded, st.just(upload), words)
    if kind is CompleteAsked:
        proof = st.just(state.ask.md5) if state.ask else st.none() | digests
        times = st.floats(0, 2**40)
        if state.upload is None:
            return st.builds(CompleteAsked, st.just(SINGLE), st.just(()), proof, times, moments)
        return st.builds(CompleteAsked, st.just(upload), st.just(state.part_ids), proof, times)
    if kind is CompleteRefused:
        return st.builds(CompleteRefused, st.just(upload), words)
    if kind is Doubted:
        return st.just(Doubted(upload))
    if kind is Completed:
        return _completed(state)
    if kind is Failed:
        return st.builds(Failed, words, words)
    return st.just(Cancelled())


def _completed(state: State) -> st.SearchStrategy[Completed]:
    files, chance = remote_files(state.span.size), st.booleans()
    if state.phase is Phase.NEW:
        return st.builds(Completed, files, chance, st.just(value=True), st.none() | digests)
    return st.builds(Completed, files, chance)


@st.composite
def _accepted(draw: st.DrawFn, upload: str, state: State) -> Accepted:
    gap = draw(st.sampled_from(state.missing or (state.span,)))
    start = draw(st.integers(gap.start, gap.stop - 1))
    stop = draw(st.integers(start + 1, gap.stop))
    receipt = Receipt(Span(start, stop), f"part_{state.generation}_{start}", draw(digests))
    return Accepted(upload, receipt)


def target(state: State, kind: type[Fact]) -> Phase | None:
    """Where a fact leads by the table: a single request that was refused leaves nothing behind."""
    if kind is CompleteRefused and state.phase is Phase.ASKED and state.upload is None:
        return Phase.NEW
    return TABLE[state.phase].get(kind)


def feasible(state: State) -> list[type[Fact]]:
    """Kinds of facts that can come next, by the table and by what is missing."""
    kinds = list(TABLE[state.phase])
    if not state.missing and Accepted in kinds:
        kinds.remove(Accepted)
    if state.missing and state.phase is Phase.SENDING:
        kinds.remove(CompleteAsked)
    if state.doubted and CompleteRefused in kinds:
        kinds.remove(CompleteRefused)
    if state.phase is Phase.NEW and state.generation:
        kinds.remove(Completed)
    return kinds


@dataclass(frozen=True, slots=True)
class Life:
    """A stretch, facts about it that are legal in this order, and the state they fold to."""

    span: Span
    facts: tuple[Fact, ...]
    state: State


@st.composite
def lives(draw: st.DrawFn, longest: int = 6, steps: int = 24) -> Life:
    """A legal life of a job, cut off anywhere. Short files, so that many are sent whole."""
    span = draw(spans(longest))
    state, facts = State(span), list[Fact]()
    for _ in range(draw(st.integers(0, steps))):
        kinds = feasible(state)
        # Endings are legal nearly everywhere; drawn evenly they would end most lives at once.
        ends = {Failed, Cancelled, GenerationEnded}
        if state.phase is Phase.NEW:
            ends.add(Completed)
        lasting = [kind for kind in kinds if kind not in ends]
        kinds = lasting * 5 + kinds
        if not kinds:
            break
        fact = draw(fitting(state, draw(st.sampled_from(kinds))))
        facts.append(fact)
        state = apply(state, fact)
    return Life(span, tuple(facts), state)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """An account, with the parts that a server or a user may leave away."""
    return Account(
        base_url=draw(words),
        organization=draw(st.none() | words),
        project=draw(st.none() | words),
        headers=tuple(sorted(draw(st.sets(words, max_size=3)))),
        key_hash=draw(st.none() | words),
    )


@st.composite
def jobs(draw: st.DrawFn, span: Span | None = None) -> Job:
    """A job before it has facts."""
    stretch = span or draw(spans())
    numbers = st.integers(0, 2**63 - 1)
    return Job(
        id="",
        set_id=draw(words),
        account=draw(accounts()),
        path=draw(words),
        span=stretch,
        fingerprint=Fingerprint(stretch.stop, draw(numbers), draw(numbers), draw(numbers)),
        purpose=draw(words),
        filename=draw(words),
        mime_type=draw(words),
        created_at=draw(st.floats(0, 2**40)),
        expires_after=draw(st.none() | moments),
        part_size=draw(st.integers(1, 2**40)),
        md5=draw(st.booleans()),
        method=draw(st.sampled_from(["auto", "uploads", "files"])),
    )


def plain_job(path: str = "/data/train.jsonl", size: int = 1000, created_at: float = 1.0) -> Job:
    """A job as an ordinary command makes it."""
    return Job(
        id="",
        set_id="set",
        account=Account("https://api.example.com/v1"),
        path=path,
        span=Span(0, size),
        fingerprint=Fingerprint(size, 1, 2, 3),
        purpose="batch",
        filename="train.jsonl",
        mime_type="application/jsonl",
        created_at=created_at,
    )
