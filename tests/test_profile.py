"""Profiles and headers as people write them: what is understood, and what is never shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import everything

from chunkup.errors import BadOption, NoKey
from chunkup.models import Limits
from chunkup.profile import (
    HEADER_NAME,
    Header,
    Profile,
    parse_header,
    parse_headers,
)
from chunkup.profile.written import read_profile
from chunkup.providers import PRESETS
from chunkup.providers.dialect import Auth

CANARY = "canary-5up3r53cr37"


# --- headers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "written"),
    [
        ("X-Tenant: blue", "X-Tenant", "blue"),
        ("X-Tenant:blue", "X-Tenant", "blue"),
        ("  X-Tenant :  blue and green \t", "X-Tenant", "blue and green"),
        ("X-Time: 12:30", "X-Time", "12:30"),
        ("X-Token: env:TOKEN_1", "X-Token", "env:TOKEN_1"),
    ],
)
def test_a_header_is_a_name_a_colon_and_a_value(text: str, name: str, written: str) -> None:
    assert parse_header(text) == Header(name, written)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "X-Tenant", CANARY, f": {CANARY}", f"Bearer {CANARY}: x", f"{CANARY} x:y"),
        *("X-Tenant:", "X-Tenant:  ", f"X-T: env:{CANARY}", "X-T: env:", "X-T: env:1A"),
        f"X-Ü: {CANARY}",
    ],
)
def test_what_is_no_header_is_refused_and_nothing_of_it_shown(text: str) -> None:
    with pytest.raises(BadOption) as caught:
        parse_header(text)
    assert CANARY not in everything(caught.value)
    assert caught.value.hint


def test_a_header_that_cannot_be_is_called_by_its_name() -> None:
    with pytest.raises(BadOption, match="X-Token"):
        parse_header(f"X-Token: env:{CANARY}")
    with pytest.raises(BadOption, match="X-Token"):
        parse_header("X-Token:")


@given(st.text(max_size=60))
def test_any_text_is_a_header_that_can_be_written_again_or_is_refused(text: str) -> None:
    try:
        header = parse_header(text)
    except BadOption:
        return
    assert HEADER_NAME.fullmatch(header.name)
    assert parse_header(f"{header.name}: {header.written}") == header


def test_a_variable_holds_one_header_a_line_blanks_and_all() -> None:
    lines = "X-One: a value with blanks\n\n  X-Two: env:TWO\r\nX-Three: a,b;c\n"
    assert parse_headers(lines) == [
        Header("X-One", "a value with blanks"),
        Header("X-Two", "env:TWO"),
        Header("X-Three", "a,b;c"),
    ]
    assert parse_headers("") == parse_headers(" \n\n") == []


def test_the_value_comes_from_the_variable_at_the_time_of_asking() -> None:
    header = parse_header("X-Token: env:TOKEN")
    assert not header.literal
    assert header.value({"TOKEN": f" {CANARY}\n"}) == CANARY
    assert header.value({"TOKEN": "other"}) == "other"
    assert parse_header("X-Token: blue").value({}) == "blue"


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}, {"TOKEN": " \n"}])
def test_an_unset_variable_is_named_with_its_header(environ: dict[str, str]) -> None:
    with pytest.raises(BadOption, match="X-Token of profile gw comes from TOKEN") as caught:
        parse_header("X-Token: env:TOKEN").value(environ, " of profile gw")
    assert caught.value.hint == "export TOKEN=..."


def test_no_value_stands_in_a_repr() -> None:
    header = parse_header(f"X-Token: {CANARY}")
    assert CANARY not in repr(header) + repr(Profile("gw", headers=(header,)))


# --- profiles -------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "base_url": "https://gateway.example/v1",
    "preset": "mistral",
    "organization": "org-a",
    "project": "proj_a",
    "api_key": "env:GATEWAY_KEY",
    "auth": "api-key",
    "query": {"api-version": "2024-10-21"},
    "headers": {"X-Tenant": "blue", "X-Token": "env:TOKEN"},
    "allow_http": True,
    "method": "files",
    "workers": 4,
    "part_size": "8MiB",
    "retries": 0,
    "stall_timeout": "2m",
    "offline_wait": 0,
    "limit_rate": "40Mbit/s",
    "limits": {
        "part": "16MiB",
        "upload": 2_000_000_000,
        "file": "1GB",
        "purposes": {"batch": "5MB", "ocr": 3},
    },
}


def test_everything_that_a_profile_can_say_is_understood() -> None:
    assert read_profile("gw", FULL, "config.toml") == Profile(
        "gw",
        base_url="https://gateway.example/v1",
        preset="mistral",
        organization="org-a",
        project="proj_a",
        api_key="GATEWAY_KEY",
        auth=Auth.API_KEY,
        query=(("api-version", "2024-10-21"),),
        headers=(Header("X-Tenant", "blue"), Header("X-Token", "env:TOKEN")),
        allow_http=True,
        method="files",
        workers=4,
        part_size=8 << 20,
        retries=0,
        stall_timeout=120.0,
        offline_wait=0.0,
        limit_rate=5e6,
        part_limit=16 << 20,
        upload_limit=2_000_000_000,
        file_limit=10**9,
        purpose_limits=(("batch", 5 * 10**6), ("ocr", 3)),
    )


def test_only_what_it_says_takes_the_place_of_a_default() -> None:
    assert read_profile("gw", {}, "c").defaults() == {}
    said = read_profile("gw", {"no_key": False, "retries": 0}, "c").defaults()
    assert said == {"no_key": False, "retries": 0}
    full = read_profile("gw", FULL, "c").defaults()
    assert full == {
        "base_url": "https://gateway.example/v1",
        "organization": "org-a",
        "project": "proj_a",
        "allow_http": True,
        "method": "files",
        "workers": 4,
        "part_size": 8 << 20,
        "retries": 0,
        "stall_timeout": 120.0,
        "offline_wait": 0.0,
        "limit_rate": 5e6,
    }


@pytest.mark.parametrize(
    ("limit", "part_size"), [("16MiB", 16 << 20), ("64MiB", 64 << 20), ("1GiB", 64 << 20)]
)
def test_parts_are_as_large_as_the_provider_takes_them_unless_said_otherwise(
    limit: str, part_size: int
) -> None:
    assert read_profile("gw", {"limits": {"part": limit}}, "c").defaults() == {
        "part_size": part_size
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("base_url", ""), ("base_url", 5), ("base_url", "a\nb"), ("organization", ["a"])),
        *(("no_key", 1), ("no_key", "yes"), ("allow_http", "true")),
        *(("workers", 0), ("workers", 65), ("workers", "4"), ("workers", True), ("workers", 4.0)),
        *(("retries", -1), ("retries", 101), ("retries", False)),
        *(("part_size", 0), ("part_size", "much"), ("part_size", True), ("part_size", 1.5)),
        *(("stall_timeout", 0), ("stall_timeout", "soon"), ("stall_timeout", True)),
        *(("stall_timeout", float("inf")), ("offline_wait", float("nan")), ("offline_wait", -1)),
        *(("limit_rate", 5e6), ("limit_rate", "5MB"), ("limit_rate", "10KiB/s")),
        *(("limits", 5), ("limits", {"part": 0}), ("limits", {"parts": 5})),
        *(("headers", ["X: y"]), ("headers", {"X Y": "z"}), ("headers", {"X": 5})),
        *(("headers", {"X": ""}), ("headers", {"X": "env:"})),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_place_and_key(key: str, value: object) -> None:
    with pytest.raises(BadOption) as caught:
        read_profile("gw", {key: value}, "/etc/config.toml")
    assert str(caught.value).startswith("[profiles.gw] in /etc/config.toml")
    assert key.removesuffix("s") in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "table",
    [
        {"api_key": CANARY},
        {"api_key": "canary_that_could_be_a_variable"},
        {"api_key": f"env:{CANARY}"},
        {"api_key": {"literal": CANARY}},
        {"api_key": [CANARY]},
        {"api_key": f" env:{CANARY}"},
        {"headers": {"X-Token": f"env:{CANARY}"}},
        {"headers": {f"X Y {CANARY}": "a"}},
        {"headers": CANARY},
        {"headers": {"X-Token": [CANARY]}},
    ],
)
def test_secrets_are_refused_where_they_must_not_stand_and_never_shown(
    table: dict[str, object],
) -> None:
    with pytest.raises(BadOption) as caught:
        read_profile("gw", table, "config.toml")
    assert CANARY not in everything(caught.value)
    assert "canary_that" not in everything(caught.value)
    if "api_key" in table:
        assert 'api_key = "env:VARIABLE"' in str(caught.value)


def test_an_unknown_key_is_named_and_the_known_ones_listed() -> None:
    with pytest.raises(BadOption, match="'presets', which is not known") as caught:
        read_profile("gw", {"presets": "azure"}, "c")
    for known in FULL:
        assert known in str(caught.value.hint)
    with pytest.raises(BadOption, match="'files'") as caught:
        read_profile("gw", {"limits": {"files": 3}}, "c")
    assert caught.value.hint == "known are part, upload, file, purposes"


def test_a_preset_brings_its_address_and_its_key() -> None:
    profile = read_profile("m", {"preset": "mistral"}, "c")
    assert profile.base_url == "https://api.mistral.ai/v1"
    assert profile.api_key == "MISTRAL_API_KEY"
    assert read_profile("m", {"preset": "mistral", "api_key": "env:MINE"}, "c").api_key == "MINE"
    assert read_profile("m", {"preset": "mistral", "no_key": True}, "c").api_key is None


def test_a_presets_key_goes_to_no_other_address() -> None:
    table = {"preset": "mistral", "base_url": "https://elsewhere.example/v1"}
    assert read_profile("m", table, "c").api_key is None
    assert read_profile("l", {"preset": "litellm"}, "c").base_url is None


def test_an_unknown_preset_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(BadOption, match="preset is to be one of") as caught:
        read_profile("gw", {"preset": "mistrall"}, "config.toml")
    for name in PRESETS:
        assert name in caught.value.message


def test_limits_lower_and_raise_those_that_are_known() -> None:
    known = Limits(part=9, upload=8, by_purpose=(("batch", 7), ("vision", 6)), file=5)
    assert Profile("gw").limits(known) == known
    assert not Profile("gw").has_limits
    profile = read_profile("gw", {"limits": {"file": 50, "purposes": {"batch": 70}}}, "c")
    assert profile.has_limits
    found = profile.limits(known)
    assert (found.part, found.upload, found.file) == (9, 8, 50)
    assert dict(found.by_purpose) == {"batch": 70, "vision": 6}


def test_a_key_and_no_key_contradict_each_other() -> None:
    with pytest.raises(BadOption, match="no_key"):
        read_profile("gw", {"api_key": "env:K", "no_key": True}, "c")
    assert read_profile("gw", {"api_key": "env:K", "no_key": False}, "c").api_key == "K"


def test_hostile_names_are_harmless_in_errors() -> None:
    with pytest.raises(BadOption) as caught:
        read_profile("a\x1b[31m", {"b\x1b]0;": 1}, "c")
    assert "\x1b" not in everything(caught.value).replace("\\x1b", "")


@given(
    st.dictionaries(
        st.sampled_from([*FULL, "no_key", "limits", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_any_table_is_a_profile_or_is_refused(table: dict[str, object]) -> None:
    try:
        profile = read_profile("gw", table, "c")
    except BadOption:
        return
    assert set(table) <= {*FULL, "no_key"}
    assert profile.name == "gw"


def test_the_key_is_looked_up_when_it_is_needed() -> None:
    profile = read_profile("gw", {"api_key": "env:GATEWAY_KEY"}, "c")
    assert profile.key({"GATEWAY_KEY": f"{CANARY}\n"}) == CANARY
    assert read_profile("gw", {}, "c").key({"OPENAI_API_KEY": CANARY}) is None
    for environ in ({}, {"GATEWAY_KEY": " "}, {"OPENAI_API_KEY": CANARY}):
        with pytest.raises(NoKey, match="profile gw comes from GATEWAY_KEY") as caught:
            profile.key(environ)
        assert caught.value.hint == "export GATEWAY_KEY=..."
