"""The file that holds profiles: where it is, and what it may not be."""

import os
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import everything

from chunkup import config
from chunkup.errors import BadOption
from chunkup.providers import OPENAI, PRESETS

CANARY = "canary-5up3r53cr37"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def environ(file: Path) -> dict[str, str]:
    return {"CHUNKUP_CONFIG": str(file)}


def test_it_is_named_by_a_variable_or_lies_in_the_users_folder() -> None:
    default = Path(platformdirs.user_config_dir("chunkup")) / "config.toml"
    assert config.config_path({}) == config.config_path({"CHUNKUP_CONFIG": ""}) == default
    assert config.config_path({"CHUNKUP_CONFIG": "/else/where.toml"}) == Path("/else/where.toml")


def test_a_profile_is_found_by_name(file: Path, environ: dict[str, str]) -> None:
    file.write_text('[profiles.gw]\nbase_url = "https://gw.example/v1"\n[profiles."b c"]\n')
    assert config.load("gw", environ).base_url == "https://gw.example/v1"
    assert config.load("b c", environ).base_url is None
    names = config.names(environ)
    assert list(names)[-2:] == ["gw", "b c"]
    assert (names["gw"], names["b c"]) == ("https://gw.example/v1", None)


def test_openai_is_built_in_and_can_be_replaced(file: Path, environ: dict[str, str]) -> None:
    file.write_text("")
    built_in = config.load("openai", environ)
    assert (built_in.base_url, built_in.api_key) == (OPENAI.base_url, "OPENAI_API_KEY")
    file.write_text('[profiles.openai]\nbase_url = "https://eu.example/v1"\n')
    assert config.load("openai", environ).base_url == "https://eu.example/v1"


def test_presets_with_an_address_and_a_known_key_are_built_in(environ: dict[str, str]) -> None:
    Path(environ["CHUNKUP_CONFIG"]).write_text("")
    for name, preset in PRESETS.items():
        if preset.base_url is None or preset.key is None:
            assert name == "azure" or name not in config.BUILT_IN
            continue
        profile = config.load(name, environ)
        assert (profile.base_url, profile.api_key) == (preset.base_url, preset.key)
        assert profile.preset == name
        assert config.names(environ)[name] == preset.base_url


AZURE = {"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/"}


@pytest.mark.parametrize(
    ("more", "base_url", "preset", "api_key", "auth", "query"),
    [
        ({}, "/openai/v1", "azure-v1", "AZURE_OPENAI_API_KEY", "api-key", {}),
        (
            {"OPENAI_API_VERSION": "2024-10-21"},
            *("/openai", "azure", "AZURE_OPENAI_API_KEY", "api-key"),
            {"api-version": "2024-10-21"},
        ),
        (
            {"AZURE_OPENAI_AD_TOKEN": "t", "AZURE_OPENAI_API_KEY": "k"},
            *("/openai/v1", "azure-v1", "AZURE_OPENAI_AD_TOKEN", "bearer", {}),
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/openai/v1/"},
            *("/openai/v1", "azure-v1", "AZURE_OPENAI_API_KEY", "api-key", {}),
        ),
    ],
)
def test_azure_is_where_its_own_variables_say(
    environ: dict[str, str],
    more: dict[str, str],
    base_url: str,
    preset: str,
    api_key: str,
    auth: str,
    query: dict[str, str],
) -> None:
    Path(environ["CHUNKUP_CONFIG"]).write_text("")
    profile = config.load("azure", {**environ, **AZURE, **more})
    assert profile.base_url == "https://res.openai.azure.com" + base_url
    assert (profile.preset, profile.api_key, profile.auth) == (preset, api_key, auth)
    assert dict(profile.query) == query


def test_azure_without_an_address_says_which_variable_is_missing(environ: dict[str, str]) -> None:
    Path(environ["CHUNKUP_CONFIG"]).write_text("")
    with pytest.raises(BadOption, match="AZURE_OPENAI_ENDPOINT says, which is not set") as caught:
        config.load("azure", environ)
    assert caught.value.hint == "export AZURE_OPENAI_ENDPOINT=https://NAME.openai.azure.com"
    assert config.names(environ)["azure"] is None
    assert config.names({**environ, **AZURE})["azure"] == "https://res.openai.azure.com/openai/v1"
    names = [profile.name for profile in config.built_in_profiles(environ)]
    assert "mistral" in names
    assert {"azure", "openai"}.isdisjoint(names)
    names = [profile.name for profile in config.built_in_profiles({**environ, **AZURE})]
    assert names[0] == "azure"


def test_an_unknown_profile_is_refused_with_the_known_ones(
    file: Path, environ: dict[str, str]
) -> None:
    file.write_text("[profiles.zeta]\n[profiles.alpha]\n")
    with pytest.raises(
        BadOption, match="no profile 'gw'; known are alpha, zeta, azure, "
    ) as caught:
        config.load("gw", environ)
    assert str(file) in str(caught.value.hint)


def test_a_broken_profile_does_not_break_its_neighbours(
    file: Path, environ: dict[str, str]
) -> None:
    file.write_text("[profiles.bad]\nnonsense = 1\n[profiles.good]\nworkers = 2\n")
    assert config.load("good", environ).workers == 2
    assert [profile.name for profile in config.written_profiles(environ)] == ["good"]
    assert {"openai", "bad", "good"} <= set(config.names(environ))
    with pytest.raises(BadOption, match="nonsense"):
        config.load("bad", environ)


def test_a_missing_file_is_fine_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str]
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert config.load("openai", {}).base_url == OPENAI.base_url
    with pytest.raises(BadOption, match=r"CHUNKUP_CONFIG names .* does not exist"):
        config.load("openai", environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.gw]\nbase_url = "a\n', "line 2"),
        (f'[profiles.gw]\napi_key = "env:K"\nkey = {CANARY}\n', "line 3"),
        (f"\n\n{CANARY}\n", "line 3"),
        (f'[profiles.gw]\nheaders = {{ X = "{CANARY} }}\n', "line 2"),
        ("[profiles.gw]\n[profiles.gw]\n", "line 2"),
        ("x = " + "[" * 100_000, "nested"),
        ('default_profile = "gw"\n', "default_profile"),
        ("profiles = 5\n", "profiles"),
        ("[profiles]\ngw = 5\n", "gw"),
        ("[profile.gw]\n", "'profile'"),
    ],
)
def test_what_is_no_such_file_is_one_sentence_with_the_place(
    file: Path, environ: dict[str, str], text: str, said: str
) -> None:
    file.write_text(text)
    with pytest.raises(BadOption) as caught:
        config.load("gw", environ)
    message = caught.value.message
    assert said in message
    assert str(file) in message
    assert "\n" not in message
    assert caught.value.hint
    assert CANARY not in everything(caught.value)


def test_what_is_no_text_is_refused_with_the_line(file: Path, environ: dict[str, str]) -> None:
    file.write_bytes(b"[profiles.gw]\n# \xff\xfe\n")
    with pytest.raises(BadOption, match=r"not UTF-8 text .at line 2."):
        config.load("gw", environ)


def test_only_a_regular_file_of_sensible_length_is_read(
    tmp_path: Path, file: Path, environ: dict[str, str]
) -> None:
    os.mkfifo(file)
    with pytest.raises(BadOption, match="not a regular file"):
        config.load("gw", environ)
    with pytest.raises(BadOption, match="not a regular file"):
        config.load("gw", {"CHUNKUP_CONFIG": str(tmp_path)})
    with pytest.raises(BadOption, match="not a regular file"):
        config.load("gw", {"CHUNKUP_CONFIG": "/dev/zero"})
    file.unlink()
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(BadOption, match="longer"):
        config.load("gw", environ)


def test_a_link_to_the_file_will_do(tmp_path: Path, file: Path, environ: dict[str, str]) -> None:
    (tmp_path / "real.toml").write_text("[profiles.gw]\nworkers = 3\n")
    file.symlink_to(tmp_path / "real.toml")
    assert config.load("gw", environ).workers == 3


def test_a_file_that_may_not_be_read_says_so(file: Path, environ: dict[str, str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file.write_text("")
    file.chmod(0)
    with pytest.raises(BadOption, match="cannot be read: Permission denied"):
        config.load("gw", environ)


@given(st.text(max_size=60) | st.text('[]profiles.gw="\n #{}', max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_understood_or_refused(file: Path, environ: dict[str, str], text: str) -> None:
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        config.names(environ)
        config.load("gw", environ)
    except BadOption as error:
        assert error.message.isprintable()  # noqa: PT017  (there may be none)
