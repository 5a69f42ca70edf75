"""Plans: faults as text, read strictly and written back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chunkup.server.faults import ANY, CALLS, Fault
from chunkup.server.plans import PlanError, plan_text, read_plan

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
COUNTS = st.integers(1, 1 << 40)
SECONDS = st.floats(0, 86_400) | st.integers(0, 86_400)
WHICH: dict[str, SearchStrategy[Any]] = {
    "nth": COUNTS,
    "times": COUNTS,
    "every": COUNTS,
    "until": COUNTS,
    "probability": st.floats(0, 1, exclude_min=True),
}
HEADERS = st.dictionaries(
    st.text("abc-XYZ", min_size=1), st.text(st.characters(min_codepoint=32, max_codepoint=126))
)
WHAT: dict[str, SearchStrategy[Any]] = {
    "drop_answer": st.just(value=True),
    "reset": st.just(value=True),
    "hang": st.just(value=True),
    "status": st.integers(200, 599),
    "body": JSON,
    "message": st.text(),
    "headers": HEADERS,
    "carried_out": st.booleans(),
    "after": st.integers(0, 1 << 40),
    "hold": SECONDS,
    "delay": SECONDS,
    "cut": st.integers(0, 1 << 40),
    "trickle": SECONDS,
    "garble": st.just(value=True),
    "gzip": st.just(value=True),
}


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Any fault that there can be."""
    names = draw(st.sets(st.sampled_from(sorted(WHICH)), max_size=3))
    names |= draw(st.sets(st.sampled_from(sorted(WHAT)), min_size=1, max_size=3))
    said = {name: draw((WHICH | WHAT)[name]) for name in sorted(names)}
    call = draw(st.sampled_from([*CALLS, ANY]))
    while True:
        try:
            return Fault(call=call, **said)
        except (TypeError, ValueError):
            # Most of what is drawn contradicts itself, and something of it does not.
            said = dict(list(said.items())[1:]) or {"hang": True}


# However busy the machine is.
IN_PEACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLANS = st.lists(faults(), min_size=1, max_size=4)


@IN_PEACE
@given(PLANS)
@example([Fault(call=ANY, probability=0.25, body={"a": ["\n", "\u2028", None]}, carried_out=True)])
def test_a_plan_comes_back_as_it_was_written(plan: list[Fault]) -> None:
    text = plan_text(plan)
    assert read_plan(text) == tuple(plan)
    assert len(text.splitlines()) == len(plan)
    assert text.isascii()


@IN_PEACE
@given(PLANS, st.sampled_from([None, 2]), st.sampled_from(["", "\n", " \r\n\t"]))
def test_a_list_is_a_plan_however_it_is_laid_out(
    plan: list[Fault], indent: int | None, around: str
) -> None:
    data = [fault.as_data() for fault in plan]
    assert read_plan(around + json.dumps(data, indent=indent) + around) == tuple(plan)
    apart = "\n".join(json.dumps(each, indent=indent) + around for each in data)
    assert read_plan(around + apart) == tuple(plan)


def refusal(act: Callable[[], object]) -> TypeError | ValueError | None:
    try:
        act()
    except (TypeError, ValueError) as error:
        return error
    return None


@IN_PEACE
@given(st.text() | JSON.map(json.dumps) | st.lists(st.text('[{"callpart:,}]\n ')).map("".join))
@example("[" * 100_000)
@example('{"call": "part", "nth": ' + "9" * 5000 + ', "hang": true}')
@example('{"call": "part", "nth": ' + "-" + "9" * 4000 + ', "hang": true}')
def test_any_text_is_a_plan_or_refused_in_one_line(text: str) -> None:
    refused = refusal(lambda: read_plan(text))
    if refused is not None:
        assert isinstance(refused, PlanError)
        assert 1 <= refused.line <= text.count("\n") + 1
        assert "\n" not in str(refused)
        assert len(str(refused)) < 500


@IN_PEACE
@given(st.dictionaries(st.sampled_from(["call", *WHICH, *WHAT]) | st.text(), JSON, max_size=5))
def test_any_object_is_a_fault_or_refused_in_a_sentence(data: dict[str, Any]) -> None:
    said = {"call": "part", **data}
    refused = refusal(lambda: Fault.of_data(said))
    if refused is None:
        fault = Fault.of_data(said)
        assert Fault.of_data(fault.as_data()) == fault
    else:
        assert "\n" not in str(refused)


ONE = '{"call": "part", "status": 503}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: there is no fault in this plan"),
        ("\n \n", "line 1: there is no fault in this plan"),
        ("[]", "line 1: there is no fault in this plan"),
        (ONE + "3", "line 2: a fault is an object, not 3"),
        (ONE + "null", "line 2: a fault is an object, not None"),
        (ONE + "{", "line 2: this is not JSON: expecting property name enclosed in double quotes"),
        (ONE + "part 3", "line 2: this is not JSON: expecting value (column 1)"),
        (ONE + '\n{"call": "part",\n "nth" 3}', "line 4: this is not JSON: expecting ':'"),
        (ONE.strip() + ONE, "line 1: a line holds one fault, and this one goes on"),
        (ONE.strip() + ",\n" + ONE, "line 1: a line holds one fault, and this one goes on"),
        (f"[\n{ONE}{ONE}]", "line 3: a list goes on with , or ends with ]"),
        (f"[\n{ONE}", "line 3: a list goes on with , or ends with ]"),
        (f"[\n{ONE},]", "line 3: this is not JSON: expecting value"),
        (f"[\n{ONE}]\n{ONE}", "line 4: the list has ended, and nothing comes after it"),
        ('{"call": "part", "tims": 2}', "line 1: a fault has no 'tims'; did you mean 'times'?"),
        ('{"call": "part", "xyz": 2}', "line 1: a fault has no 'xyz'; there are call, nth, times,"),
        ('{"status": 503}', "line 1: a fault names its call: create, part, complete, cancel"),
        ('{"call": "parts", "hang": true}', "line 1: 'parts' is not a call; the calls are create"),
        ('{"call": ["part"], "hang": true}', "line 1: ['part'] is not a call"),
        (ONE + '{"call": "part"}', "line 2: a fault says what happens, such as"),
        ('{"call": "part", "hang": 1}', "line 1: hang is True or False, not 1"),
        ('{"call": "part", "nth": 2.0, "hang": true}', "line 1: nth is a whole number, not 2.0"),
        ('{"call": "part", "nth": 0, "hang": true}', "line 1: nth is 1 or more, not 0"),
        ('{"call": "part", "delay": NaN}', "line 1: this is not JSON: it has no NaN"),
        ('{"call": "part", "nth": 1, "nth": 2}', "line 1: this is not JSON: 'nth' stands in it"),
        ('{"call": "part", "body": "\\ud800"}', "line 1: body is no Unicode text"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_plan(text)
    assert str(refused.value).startswith(said)
    assert str(refused.value) == f"line {refused.value.line}: {refused.value.problem}"
