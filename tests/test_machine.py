"""The machine alone: the table, the refusals, and what it proposes."""

import copy
import dataclasses
import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FACTS, Life, fitting, lives, scattered, spans, target, tilings

from chunkup import machine
from chunkup.machine import (
    OPEN,
    SINGLE,
    TABLE,
    Accepted,
    AnswerLost,
    Ask,
    Cancelled,
    CompleteAsked,
    Completed,
    CompleteRefused,
    Create,
    Created,
    Doubted,
    End,
    Fact,
    Failed,
    Finish,
    GenerationEnded,
    IllegalFact,
    Phase,
    Post,
    Send,
    Settle,
    State,
    apply,
    fold,
    next_action,
)
from chunkup.models import Receipt, RemoteFile, Span, Upload

ABOUT_AN_UPLOAD = (
    Accepted,
    AnswerLost,
    GenerationEnded,
    CompleteAsked,
    CompleteRefused,
    Doubted,
)

SPAN = Span(0, 2)
UPLOAD = Upload("upload_1", 0, 100)
FIRST = Accepted("upload_1", Receipt(Span(0, 1), "part_a", "aa"))
SECOND = Accepted("upload_1", Receipt(Span(1, 2), "part_b", "bb"))
ASKED = CompleteAsked("upload_1", ("part_a", "part_b"), "5d41", 7.0)
FILE = RemoteFile("file-1", 2, 0, "a.jsonl", "batch")
SENDING: tuple[Fact, ...] = (Created(UPLOAD), FIRST)
WHOLE: tuple[Fact, ...] = (*SENDING, SECOND)

POSTED = CompleteAsked(SINGLE, (), "5d41", 7.0, 6)

REACHED: dict[Phase, tuple[Fact, ...]] = {
    Phase.NEW: (),
    Phase.SENDING: SENDING,
    Phase.ASKED: (*WHOLE, ASKED),
    Phase.COMPLETED: (*WHOLE, ASKED, Completed(FILE)),
    Phase.FAILED: (*SENDING, Failed("source-gone", "it vanished")),
    Phase.CANCELLED: (*SENDING, Cancelled()),
}


def refuses(state: State, fact: Fact) -> None:
    before = copy.deepcopy(state)
    with pytest.raises(IllegalFact):
        apply(state, fact)
    assert state == before


def test_the_table_is_this_one() -> None:
    ends = {"Failed": "failed", "Cancelled": "cancelled"}
    told = {
        phase: {kind.__name__: str(target) for kind, target in row.items()}
        for phase, row in TABLE.items()
    }
    assert told == {
        "new": {
            "Created": "sending",
            "CompleteAsked": "asked",
            "Completed": "completed",
            **ends,
        },
        "sending": {
            "Accepted": "sending",
            "AnswerLost": "sending",
            "GenerationEnded": "new",
            "CompleteAsked": "asked",
            **ends,
        },
        "asked": {
            "CompleteRefused": "sending",
            "Doubted": "asked",
            "GenerationEnded": "new",
            "Completed": "completed",
            **ends,
        },
        "completed": {},
        "failed": {},
        "cancelled": {},
    }


def test_every_phase_has_a_row_and_every_fact_leads_somewhere() -> None:
    assert set(TABLE) == set(Phase) == set(REACHED)
    assert {kind for row in TABLE.values() for kind in row} == set(FACTS)
    assert {phase for phase in Phase if TABLE[phase]} == OPEN
    assert {phase for row in TABLE.values() for phase in row.values()} == set(Phase)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", FACTS)
@given(data=st.data())
def test_every_phase_takes_the_facts_of_its_row_and_refuses_all_others(
    phase: Phase, kind: type[Fact], data: st.DataObject
) -> None:
    facts = REACHED[phase]
    if (phase, kind) == (Phase.SENDING, CompleteAsked):
        facts = WHOLE
    state = fold(SPAN, facts)
    assert state.phase is phase
    fact = data.draw(fitting(state, kind))
    reached = target(state, kind)
    if reached is None:
        refuses(state, fact)
    else:
        assert apply(state, fact).phase is reached


@given(lives(), st.sampled_from(FACTS), st.data())
def test_any_state_takes_a_fact_by_the_table_or_stays_as_it_was(
    life: Life, kind: type[Fact], data: st.DataObject
) -> None:
    fact = data.draw(fitting(life.state, kind))
    before = copy.deepcopy(life.state)
    try:
        after = apply(life.state, fact)
    except IllegalFact:
        full = not life.state.missing
        in_parts = life.state.upload is not None
        impossible = (kind is Accepted and full) or (
            kind is CompleteAsked and not full and in_parts
        )
        told = kind is CompleteRefused and life.state.doubted
        begun = kind is Completed and life.state.generation > 0
        assert kind not in TABLE[life.state.phase] or impossible or told or begun
    else:
        assert after.phase is target(life.state, kind)
    assert life.state == before


@given(lives(), st.sampled_from(ABOUT_AN_UPLOAD), st.data())
def test_facts_about_another_upload_are_refused(
    life: Life, kind: type[Fact], data: st.DataObject
) -> None:
    elsewhere = dataclasses.replace(life.state, upload=Upload("upload_of_somebody_else", 0, None))
    refuses(life.state, data.draw(fitting(elsewhere, kind)))


@pytest.mark.parametrize(
    ("facts", "fact"),
    [
        (SENDING, SECOND),
        (SENDING, AnswerLost("upload_1")),
        (SENDING, GenerationEnded("upload_1", "gone")),
        (WHOLE, ASKED),
        (REACHED[Phase.ASKED], CompleteRefused("upload_1", "503")),
        (REACHED[Phase.ASKED], GenerationEnded("upload_1", "gone")),
        (REACHED[Phase.ASKED], Doubted("upload_1")),
    ],
)
def test_a_fact_that_fits_in_all_but_its_upload_is_refused(
    facts: tuple[Fact, ...], fact: Accepted | AnswerLost | CompleteAsked
) -> None:
    state = fold(SPAN, facts)
    assert apply(state, fact) != state or isinstance(fact, AnswerLost)
    refuses(state, dataclasses.replace(fact, upload_id="upload_2"))


@given(lives())
def test_facts_about_an_upload_that_ended_are_refused(life: Life) -> None:
    ended = {fact.upload_id for fact in life.facts if isinstance(fact, GenerationEnded)}
    for upload_id in ended:
        for fact in (FIRST, AnswerLost(""), GenerationEnded("", "again"), ASKED):
            refuses(life.state, dataclasses.replace(fact, upload_id=upload_id))


@given(spans(), st.data())
def test_receipts_that_overlap_or_leave_the_file_are_refused(
    span: Span, data: st.DataObject
) -> None:
    held = data.draw(scattered(span))
    state = fold(span, [Created(UPLOAD)])
    for number, piece in enumerate(held):
        state = apply(state, Accepted(UPLOAD.id, Receipt(piece, f"part_{number}", "aa")))
    start = data.draw(st.integers(max(0, span.start - 3), span.stop + 3))
    new = Span(start, start + data.draw(st.integers(1, span.size + 3)))
    fact = Accepted(UPLOAD.id, Receipt(new, "part_new", "aa"))
    taken = {at for piece in held for at in range(piece.start, piece.stop)}
    free = set(range(span.start, span.stop)) - taken
    if free.issuperset(range(new.start, new.stop)):
        assert apply(state, fact).done == state.done + new.size
    else:
        refuses(state, fact)


def test_one_part_id_for_two_stretches_is_refused() -> None:
    again = dataclasses.replace(SECOND.receipt, part_id=FIRST.receipt.part_id)
    refuses(fold(SPAN, SENDING), Accepted("upload_1", again))


@given(lives())
def test_receipts_and_missing_stretches_tile_the_file(life: Life) -> None:
    state = life.state
    pieces = sorted([*(receipt.span for receipt in state.receipts), *state.missing])
    assert pieces[0].start == state.span.start
    assert pieces[-1].stop == state.span.stop
    assert all(left.stop == right.start for left, right in pairwise(pieces))
    assert all(left.stop < right.start for left, right in pairwise(state.missing))
    if state.phase is not Phase.COMPLETED:
        assert state.done == state.span.size - sum(gap.size for gap in state.missing)


@given(lives())
def test_complete_is_proposed_only_when_receipts_tile_the_file(life: Life) -> None:
    action = next_action(life.state, now=-1.0)
    if isinstance(action, Ask):
        spans_held = [receipt.span for receipt in life.state.receipts]
        edges = [at for span in spans_held for at in (span.start, span.stop)]
        assert edges[0] == life.span.start
        assert edges[-1] == life.span.stop
        assert edges[1:-1:2] == edges[2:-1:2]
        assert action.part_ids == life.state.part_ids
    elif life.state.phase is Phase.SENDING:
        assert isinstance(action, Send)
        assert action.missing == life.state.missing
        assert action.missing


@given(spans(), st.data(), st.randoms(use_true_random=False))
def test_parts_may_come_in_any_order(
    span: Span, data: st.DataObject, chance: random.Random
) -> None:
    facts: list[Fact] = [
        Accepted(UPLOAD.id, Receipt(piece, f"part_{piece.start}", "aa"))
        for piece in data.draw(tilings(span))
    ]
    facts += [AnswerLost(UPLOAD.id)] * data.draw(st.integers(0, 2))
    shuffled = list(facts)
    chance.shuffle(shuffled)
    assert fold(span, [Created(UPLOAD), *shuffled]) == fold(span, [Created(UPLOAD), *facts])


@pytest.mark.parametrize(
    "fact",
    [
        dataclasses.replace(ASKED, part_ids=("part_b", "part_a")),
        dataclasses.replace(ASKED, part_ids=("part_a",)),
        dataclasses.replace(ASKED, part_ids=("part_a", "part_b", "part_c")),
    ],
)
def test_complete_names_exactly_the_ids_in_file_order(fact: CompleteAsked) -> None:
    refuses(fold(SPAN, WHOLE), fact)


def test_complete_is_not_asked_while_bytes_are_missing() -> None:
    state = fold(SPAN, SENDING)
    refuses(state, dataclasses.replace(ASKED, part_ids=state.part_ids))


def test_a_file_of_another_size_is_not_ours() -> None:
    asked = fold(SPAN, REACHED[Phase.ASKED])
    refuses(asked, Completed(dataclasses.replace(FILE, bytes=3)))
    assert apply(asked, Completed(dataclasses.replace(FILE, bytes=None))).done == SPAN.size


def test_a_job_that_was_never_begun_may_have_its_file_already() -> None:
    reused = Completed(FILE, reused=True, md5="5d41")
    state = apply(State(SPAN), reused)
    assert (state.phase, state.file, state.reused) == (Phase.COMPLETED, FILE, True)
    assert (state.done, state.missing) == (SPAN.size, (SPAN,))
    assert next_action(state, 1e18) == Finish(file=FILE)
    assert not fold(SPAN, REACHED[Phase.COMPLETED]).reused
    refuses(State(SPAN), Completed(FILE))
    refuses(State(SPAN), dataclasses.replace(reused, file=dataclasses.replace(FILE, bytes=3)))


@pytest.mark.parametrize(
    "facts",
    [
        SENDING[:1],
        WHOLE,
        (*WHOLE, ASKED),
        (*WHOLE, ASKED, CompleteRefused("upload_1", "503")),
        (POSTED,),
        (POSTED, CompleteRefused(SINGLE, "401")),
        (*SENDING, GenerationEnded("upload_1", "gone")),
        (*WHOLE, ASKED, GenerationEnded("upload_1", "gone")),
    ],
)
def test_what_was_begun_ends_in_no_file_of_another_job(facts: tuple[Fact, ...]) -> None:
    refuses(fold(SPAN, facts), Completed(FILE, reused=True))
    if facts[-1] not in {ASKED, POSTED}:
        refuses(fold(SPAN, facts), Completed(FILE))


def test_after_a_refusal_the_proof_is_carried_and_cannot_change() -> None:
    refused = fold(SPAN, [*WHOLE, ASKED, CompleteRefused("upload_1", "503")])
    assert next_action(refused, 0.0) == Ask("upload_1", ("part_a", "part_b"), ASKED)
    refuses(refused, dataclasses.replace(ASKED, md5="other"))
    again = dataclasses.replace(ASKED, asked_at=9.0)
    assert next_action(apply(refused, again), 0.0) == Settle(again)


def test_a_new_generation_keeps_nothing_but_its_number() -> None:
    asked_and_refused = [*WHOLE, AnswerLost("upload_1"), ASKED, CompleteRefused("upload_1", "503")]
    state = fold(SPAN, [*asked_and_refused, GenerationEnded("upload_1", "gone")])
    assert state == State(SPAN, generation=1)
    second = apply(state, Created(Upload("upload_2", 0, 100)))
    assert second.generation == 2
    assert next_action(second, 0.0) == Send("upload_2", (SPAN,))


@pytest.mark.parametrize(
    ("now", "expired"), [(99.0, False), (99.999, False), (100.0, True), (1e9, True)]
)
@pytest.mark.parametrize("facts", [SENDING, WHOLE])
def test_an_upload_ends_when_the_servers_clock_reaches_its_expiry(
    now: float, facts: tuple[Fact, ...], *, expired: bool
) -> None:
    assert (next_action(fold(SPAN, facts), now) == End("upload_1", "expired")) is expired


def test_an_upload_without_an_expiry_never_expires() -> None:
    state = fold(SPAN, [Created(Upload("upload_1", 0, None))])
    assert next_action(state, 1e18) == Send("upload_1", (SPAN,))


def test_a_doubtful_complete_is_settled_however_late_it_is() -> None:
    assert next_action(fold(SPAN, REACHED[Phase.ASKED]), 1e18) == Settle(ASKED)


def test_what_has_ended_is_finished_and_says_how() -> None:
    assert next_action(State(SPAN), 0.0) == Create()
    assert next_action(fold(SPAN, REACHED[Phase.COMPLETED]), 1e18) == Finish(file=FILE)
    failure = Failed("source-gone", "it vanished")
    assert next_action(fold(SPAN, REACHED[Phase.FAILED]), 1e18) == Finish(failure=failure)
    assert next_action(fold(SPAN, REACHED[Phase.CANCELLED]), 1e18) == Finish()


def test_the_drawing_names_every_fact_and_every_open_phase_of_the_table() -> None:
    drawing = (machine.__doc__ or "").split("The table", 1)[1].split("Two generations", 1)[0]
    named = set(re.findall(r"[A-Za-z]+", drawing))
    assert {kind.__name__ for kind in FACTS} <= named
    ended_in_words = {Phase.FAILED, Phase.CANCELLED}
    assert {phase.name for phase in Phase if phase not in ended_in_words} <= named


def test_after_a_person_was_told_of_a_doubt_it_only_looks() -> None:
    asked = fold(SPAN, REACHED[Phase.ASKED])
    assert next_action(asked, 0) == Settle(ASKED)
    told = apply(asked, Doubted("upload_1"))
    assert next_action(told, 0) == Settle(ASKED, look_only=True)
    refuses(told, CompleteRefused("upload_1", "503"))
    sent_again = apply(told, GenerationEnded("upload_1", "given up"))
    assert next_action(sent_again, 0) == Create()
    assert not sent_again.doubted


# --- a single request -------------------------------------------------------------------------


def test_a_single_request_is_proposed_only_where_nothing_was_opened() -> None:
    assert next_action(State(SPAN), 0.0, single=True) == Post()
    assert next_action(State(SPAN), 0.0) == Create()
    # What has an Upload goes on with it, whatever would be done today.
    begun = fold(SPAN, SENDING)
    assert next_action(begun, 0.0, single=True) == next_action(begun, 0.0)


def test_a_single_request_is_settled_and_not_sent_again_blindly() -> None:
    state = fold(SPAN, [POSTED])
    assert (state.phase, state.upload, state.generation) == (Phase.ASKED, None, 1)
    assert next_action(state, 1e12, single=True) == Settle(POSTED)
    assert POSTED.moments == (6.0, 7.0)
    doubted = apply(state, Doubted(SINGLE))
    assert next_action(doubted, 1e12, single=True) == Settle(POSTED, look_only=True)
    refuses(doubted, CompleteRefused(SINGLE, "503"))
    assert apply(doubted, Completed(FILE)).phase is Phase.COMPLETED
    assert apply(doubted, GenerationEnded(SINGLE, "given up")).phase is Phase.NEW


def test_a_refused_single_request_leaves_nothing_that_a_changed_file_could_contradict() -> None:
    state = fold(SPAN, [POSTED, CompleteRefused(SINGLE, "401")])
    assert state == State(SPAN, generation=1)
    other = dataclasses.replace(POSTED, md5="other")
    assert apply(state, other).ask == other


@pytest.mark.parametrize(
    ("facts", "fact"),
    [
        (SENDING, POSTED),
        (WHOLE, POSTED),
        (REACHED[Phase.ASKED], POSTED),
        ((POSTED,), POSTED),
        ((POSTED,), Created(UPLOAD)),
        ((POSTED,), FIRST),
        ((), dataclasses.replace(POSTED, part_ids=("part_a",))),
        ((), CompleteRefused(SINGLE, "401")),
        ((), GenerationEnded(SINGLE, "gone")),
        (SENDING, GenerationEnded(SINGLE, "gone")),
        (REACHED[Phase.ASKED], CompleteRefused(SINGLE, "401")),
        ((POSTED,), CompleteRefused("upload_1", "401")),
    ],
)
def test_parts_and_a_single_request_do_not_mix(facts: tuple[Fact, ...], fact: Fact) -> None:
    refuses(fold(SPAN, facts), fact)
