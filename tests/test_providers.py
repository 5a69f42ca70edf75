"""Presets: each thing that is known of a provider has its source, and only presets know it."""

import ast
import re
from dataclasses import fields
from datetime import date
from pathlib import Path

import imitations
import pytest
from imitations import IMITATED, Imitation, quoted

import chunkup
from chunkup.models import GIB, Limits
from chunkup.providers import COMPATIBLE, OPENAI, PRESETS, provider_at
from chunkup.providers.dialect import Auth, Fact, Paging, Provider

PACKAGE = Path(chunkup.__file__).parent
# What a provider is called and where it is: nothing that a source has to back.
PLAIN = {"name", "title", "base_url", "hosts", "facts"}
KNOWING = {"providers", "azure.py"}

every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
every_imitation = pytest.mark.parametrize("name", IMITATED)


def test_openai_takes_eight_gibibytes_but_batches_of_two_hundred_megabytes() -> None:
    assert OPENAI.base_url == "https://api.openai.com/v1"
    assert OPENAI.limits.part == 64 << 20
    assert OPENAI.limits.largest("user_data") == 8 * GIB
    assert OPENAI.limits.largest("batch") == 200_000_000
    assert OPENAI.limits.largest("user_data", single=True) == 512 << 20


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("EU.api.openai.com", "openai"),
        ("us.api.openai.com.", "openai"),
        ("notapi.openai.com", "compatible"),
        ("api.openai.com.example.com", "compatible"),
        ("127.0.0.1", "compatible"),
        ("", "compatible"),
        ("res.openai.azure.com", "azure-v1"),
        ("openai.azure.com.example", "compatible"),
        ("api.groq.com", "groq"),
        ("eu.api.groq.com", "compatible"),
        ("api.moonshot.cn", "moonshot"),
        ("dashscope-intl.aliyuncs.com", "dashscope-intl"),
    ],
)
def test_a_provider_is_known_by_its_host(host: str, name: str) -> None:
    assert provider_at(host).name == name


def test_only_the_official_api_is_believed_to_stamp_files() -> None:
    assert [preset.name for preset in PRESETS.values() if preset.stamps] == ["openai"]


@every_preset
def test_a_preset_is_at_its_own_address(preset: Provider) -> None:
    assert PRESETS[preset.name] is preset
    assert preset.title
    if preset.base_url is not None:
        host = preset.base_url.split("/")[2]
        assert provider_at(host) is preset
        assert preset.base_url.startswith("https://")
    for host in preset.hosts:
        assert provider_at(f"x{host}" if host.startswith(".") else host) is preset


@every_preset
def test_whatever_differs_from_the_default_has_a_source_and_a_date(preset: Provider) -> None:
    if preset is COMPATIBLE:
        return  # what is assumed of everybody is what OpenAI says of itself
    backed = {fact.about for fact in preset.facts}
    unset = Provider("", None, OPENAI.limits)
    for one in fields(Provider):
        value = getattr(preset, one.name)
        if one.name in PLAIN or value in (getattr(unset, one.name), Limits()):
            continue
        assert one.name in backed, one.name
    for fact in preset.facts:
        assert fact.about == "quirk" or hasattr(preset, fact.about)
        assert fact.says
        assert fact.source
        assert date.fromisoformat(fact.read) <= date(2026, 11, 21)
        assert "|" not in fact.says + fact.source


@every_preset
def test_a_preset_says_nothing_that_nobody_could_do(preset: Provider) -> None:
    limits = preset.limits
    for size in (limits.part, limits.upload, limits.file, *dict(limits.by_purpose).values()):
        assert size is None or size > 0
    assert not (preset.uploads is False and limits.upload)
    assert len(set(preset.purposes)) == len(preset.purposes)
    assert isinstance(preset.auth, Auth)
    assert isinstance(preset.paging, Paging)
    assert all(isinstance(fact, Fact) for fact in preset.facts)
    if preset.key is not None:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", preset.key)


def test_no_other_module_asks_who_a_provider_is() -> None:
    names = "|".join(map(re.escape, sorted(PRESETS)))
    asking = re.compile(rf"""(==|!=|\bin\b|\bcase\b)[^\n]*["']({names})["']""")
    for path in sorted(PACKAGE.rglob("*.py")):
        if {*KNOWING, "server", "testing"}.intersection(path.parts):
            continue
        text = path.read_text(encoding="utf-8")
        assert "provider.name ==" not in text, path
        assert not asking.search(text), (path, asking.search(text))


# --- what tests answer with -----------------------------------------------------------------


def test_imitations_know_nothing_of_presets() -> None:
    tree = ast.parse(Path(imitations.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("chunkup") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("chunkup")


@every_imitation
def test_every_body_stands_beside_its_source(name: str) -> None:
    own = quoted(name)
    assert own["provider"] == name
    assert own["answers"]
    for call, answer in own["answers"].items():
        assert set(answer) == {"source", "read", "status", "headers", "body"}, call
        assert answer["source"]
        date.fromisoformat(answer["read"])
        assert 200 <= answer["status"] < 500
        if answer["body"] is None:
            assert answer["status"] >= 400, "a success without a body is nothing to answer with"


@every_imitation
def test_every_rule_of_an_imitation_stands_beside_its_source(name: str) -> None:
    rules = quoted(name)["rules"]
    for rule in rules:
        assert rule["says"]
        assert rule["source"]
        date.fromisoformat(rule["read"])
    if hasattr(Imitation, f"_rules_of_{name.replace('-', '_')}"):
        assert rules


def test_no_rule_is_for_a_provider_that_nobody_quotes() -> None:
    for name in vars(Imitation):
        if name.startswith("_rules_of_"):
            assert name.removeprefix("_rules_of_").replace("_", "-") in IMITATED
