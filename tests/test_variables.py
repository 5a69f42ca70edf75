"""Every setting has a variable and says so; a flag goes before it, and it before a profile."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from aiohttp import web
from house import KEY, Handler
from test_cli import Shell, shell

from chunkup.cli.main import cli
from chunkup.cli.options import Rate, Where
from chunkup.models import Account

__all__ = ["shell"]

# Meant for one time only: a variable would make a habit of it.
ONCE = {
    "--fresh",
    "--dry-run",
    "--yes",
    "--accept",
    "--again",
    "--all",
    "--takeover",
    "--overwrite",
    "--large",
    "--write-profile",
    "--fix",
}
# Without a variable for another reason: it names one thing of this very command, or undoes what
# the environment says.
PLAIN = {
    *("--help", "--version", "--verbose", "--source", "--output", "--from-file"),
    ("serve", "--no-key"),
}
NAMED_OTHERWISE = {"--header": "CHUNKUP_HEADERS", ("serve", "--key"): "OPENAI_API_KEY"}


def commands(
    group: click.Group = cli, context: click.Context | None = None, name: str = "chunkup"
) -> Iterator[tuple[str, click.Context, click.Command]]:
    """Every command with its context, those of groups too."""
    context = context or click.Context(group, info_name=name)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=word)
        yield word, inner, command
        if isinstance(command, click.Group):
            yield from commands(command, inner, word)


COMMANDS = {inner.command_path: (word, inner, command) for word, inner, command in commands()}
OPTIONS = [
    (path, next(flag for flag in param.opts if flag.startswith("--")))
    for path, (_, _, command) in COMMANDS.items()
    for param in command.params
    if isinstance(param, click.Option) and not param.hidden
]


def option(path: str, flag: str) -> click.Option:
    return next(
        param
        for param in COMMANDS[path][2].params
        if isinstance(param, click.Option) and flag in param.opts
    )


@pytest.mark.parametrize(("path", "flag"), OPTIONS)
def test_every_option_says_its_variable_or_has_none_on_purpose(path: str, flag: str) -> None:
    word, context, command = COMMANDS[path]
    found = option(path, flag)
    if flag in ONCE | PLAIN or (word, flag) in PLAIN:
        assert found.envvar is None
        return
    derived = "CHUNKUP_" + flag.removeprefix("--").upper().replace("-", "_")
    expected = NAMED_OTHERWISE.get((word, flag)) or NAMED_OTHERWISE.get(flag) or derived
    assert found.envvar == expected
    # Without the line breaks that the help's width makes.
    assert expected in "".join(command.get_help(context).split())


def test_no_key_is_ever_a_flag_of_a_client() -> None:
    flags = {flag for path, flag in OPTIONS if not path.endswith(" serve")}
    assert not {"--key", "--api-key", "--token", "--password"} & flags


@pytest.mark.parametrize("flag", ["-H", "-h"])
def test_short_flags_are_there(flag: str) -> None:
    for path in ("chunkup upload", "chunkup resume", "chunkup cancel"):
        _, context, command = COMMANDS[path]
        assert flag in command.get_help(context)


# --- which goes first -----------------------------------------------------------------------

CONFIG = """
[profiles.gw]
base_url = "https://profile.example/v1"
api_key = "env:GW_KEY"
part_size = "2kB"

[profiles.closed]
base_url = "https://profile.example/v1"

[profiles.open]
base_url = "https://profile.example/v1"
no_key = true

[profiles.small]
limits = { part = "3kB", upload = "20kB" }

[profiles.here]
workers = 1

[profiles.typo]
base_urls = "x"

[profiles.nowhere]
base_url = "gateway.example/v1"
"""


@pytest.fixture
def profiles(shell: Shell) -> Shell:
    (shell.folder / "config.toml").write_text(CONFIG)
    shell.environ["CHUNKUP_CONFIG"] = "config.toml"
    shell.environ["GW_KEY"] = "sk-gateway"
    return shell


async def destination(shell: Shell, *flags: str, **more: str) -> str:
    done = await shell.run("upload", "a.bin", "-p", "user_data", "--dry-run", *flags, **more)
    assert done.code == 0, done.err
    return done.out.split()[-1]


async def test_flag_then_variable_then_profile_then_the_sdks_variables(profiles: Shell) -> None:
    flag = ("--base-url", "https://flag.example/v1")
    variable = {"CHUNKUP_BASE_URL": "https://variable.example/v1"}
    gw = {"CHUNKUP_PROFILE": "gw"}
    assert await destination(profiles, *flag, **variable, **gw) == "https://flag.example/v1"
    assert await destination(profiles, **variable, **gw) == "https://variable.example/v1"
    assert await destination(profiles, **gw) == "https://profile.example/v1"
    assert await destination(profiles) == profiles.house.url
    ambient = await destination(profiles, OPENAI_BASE_URL="")
    assert ambient == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("flags", "variable", "profile", "parts"),
    [
        (["--part-size", "5kB"], "4kB", "gw", 5),
        ([], "4kB", "gw", 6),
        ([], "", "gw", 11),
        ([], "", "", 1),
    ],
)
async def test_transport_settings_take_the_same_way(
    profiles: Shell, flags: list[str], variable: str, profile: str, parts: int
) -> None:
    done = await profiles.run(
        *("upload", "a.bin", "-p", "user_data", "-n", *flags),
        CHUNKUP_PART_SIZE=variable,
        CHUNKUP_PROFILE=profile,
    )
    assert f" in {parts} part" in done.out


async def test_the_flag_chooses_another_profile_than_the_variable(profiles: Shell) -> None:
    found = await destination(profiles, "--profile", "here", CHUNKUP_PROFILE="gw")
    assert found == profiles.house.url


async def test_limits_of_a_profile_bound_parts_and_files(profiles: Shell) -> None:
    done = await profiles.run("upload", "a.bin", "-p", "user_data", "-n", "--profile", "small")
    assert done.code == 2
    assert "error[too-large]" in done.err
    assert "20 kB" in done.err
    (profiles.folder / "a.bin").write_bytes(b"x" * 10_000)
    done = await profiles.run("upload", "a.bin", "-p", "user_data", "-n", "--profile", "small")
    assert "in 4 parts of 3 kB" in done.out
    flag = ("--part-size", "4kB")
    done = await profiles.run("upload", "a.bin", "-p", "x", "-n", "--profile", "small", *flag)
    assert done.code == 2


# --- whose key goes where -------------------------------------------------------------------


async def test_a_profile_that_goes_elsewhere_gets_nothing_of_the_environments(
    shell: Shell,
) -> None:
    """Nothing that was meant for one host may reach another."""
    (shell.folder / "config.toml").write_text(
        f'[profiles.gw]\nbase_url = "{shell.house.url}"\napi_key = "env:GW_KEY"\n'
        f'[profiles.closed]\nbase_url = "{shell.house.url}"\n'
    )
    shell.environ["CHUNKUP_CONFIG"] = "config.toml"
    ambient = {
        "OPENAI_BASE_URL": "https://elsewhere.example/v1",
        "OPENAI_API_KEY": "sk-elsewhere",
        "OPENAI_ORG_ID": "org-elsewhere",
        "OPENAI_PROJECT_ID": "proj_elsewhere",
        "OPENAI_CUSTOM_HEADERS": "X-Elsewhere: secret",
    }
    seen: list[str] = []

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append(repr(request.headers))
        return await handler(request)

    shell.house.intercept = intercept
    done = await shell.upload("a.bin", "--profile", "gw", GW_KEY=KEY, **ambient)
    assert done.code == 0, done.err
    assert seen
    assert not any("elsewhere" in text.lower() for text in seen)
    assert KEY in seen[0]
    seen.clear()
    # What is said of this machine and its network holds there as well.
    network = ambient | {"SSL_CERT_FILE": "gone.pem"}
    refused = await shell.upload("a.bin", "--profile", "gw", GW_KEY=KEY, **network)
    assert (refused.code, "SSL_CERT_FILE names gone.pem" in refused.err) == (2, True)
    refused = await shell.upload("a.bin", "--profile", "closed", **ambient)
    assert (refused.code, seen) == (2, [])
    assert "error[no-key]: profile closed goes to a place of its own" in refused.err
    assert 'api_key = "env:VARIABLE"' in refused.err
    # The same place as the environment's: the key is meant for it.
    ambient["OPENAI_BASE_URL"] = shell.house.url + "/"
    ambient["OPENAI_API_KEY"] = KEY
    done = await shell.upload("a.bin", "--fresh", "--profile", "closed", **ambient)
    assert done.code == 0, done.err
    assert "org-elsewhere" in seen[0]


async def test_the_profiles_key_goes_before_the_environments(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text('[profiles.gw]\napi_key = "env:GW_KEY"\n')
    shell.environ["CHUNKUP_CONFIG"] = "config.toml"
    done = await shell.upload("a.bin", "--profile", "gw", GW_KEY=KEY, OPENAI_API_KEY="sk-wrong")
    assert done.code == 0, done.err
    missing = await shell.upload("a.bin", "--profile", "gw")
    assert missing.code == 2
    assert "error[no-key]: the key of profile gw comes from GW_KEY, which" in missing.err
    without = await shell.upload("a.bin", "-n", "--profile", "gw", "--no-key")
    assert without.code == 0, without.err


async def test_the_built_in_profile_takes_the_key_that_is_called_after_it(shell: Shell) -> None:
    flags = ("--profile", "openai")
    assert await destination(shell, *flags) == "https://api.openai.com/v1"
    done = await shell.upload("a.bin", "-n", *flags, OPENAI_API_KEY="")
    assert (done.code, done.err[:14]) == (2, "error[no-key]:")


async def test_a_profile_may_say_that_no_key_is_needed(profiles: Shell) -> None:
    flags = ("--profile", "open")
    found = await destination(profiles, *flags, OPENAI_API_KEY="")
    assert found == "https://profile.example/v1"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "there is no profile 'nobody'; known are closed, gw, here, nowhere, open, "),
        ("typo", "'base_urls', which is not known"),
        ("nowhere", "profile nowhere: the base URL is not an http(s) address"),
    ],
)
async def test_a_bad_profile_is_exit_2_and_nothing_is_sent(
    profiles: Shell, name: str, said: str
) -> None:
    for command in (["upload", "a.bin", "-p", "batch"], ["resume"], ["cancel", "abc"]):
        done = await profiles.run(*command, "--profile", name)
        assert done.code == 2
        assert done.err.startswith("error[bad-option]: ")
        assert said in done.err
        assert "\n\nhint: " in done.err
    assert profiles.house.calls == []
    # Help is for those who are lost.
    assert (await profiles.run("upload", "--help", CHUNKUP_PROFILE=name)).code == 0
    assert (await profiles.run("jobs", CHUNKUP_PROFILE=name)).code == 0


# --- commands to paste ----------------------------------------------------------------------


async def test_the_hint_names_the_profile_and_goes_on_with_it(shell: Shell) -> None:
    (shell.folder / "config.toml").write_text(
        f'[profiles."my gw"]\nbase_url = "{shell.house.url}"\napi_key = "env:GW_KEY"\n'
        'organization = "org-a"\n'
        'headers = { X-Token = "env:TOKEN", X-Tenant = "blue" }\n'
    )
    more = {"CHUNKUP_CONFIG": "config.toml", "GW_KEY": KEY, "TOKEN": "t"}
    more |= {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}

    async def intercept(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.path.endswith("/parts"):
            return web.Response(status=503, headers={"retry-after-ms": "1"})
        return await handler(request)

    shell.house.intercept = intercept
    stopped = await shell.upload("a.bin", "--profile", "my gw", **more)
    assert stopped.code == 75, stopped.err
    assert "--profile 'my gw' --base-url http://127.0.0.1" in stopped.err
    job = (await shell.run("jobs", **more)).out.splitlines()[1].split()[0]
    following = (await shell.run("show", job, **more)).out.rpartition("next:")[2].strip()
    assert following.startswith(f"chunkup resume {job} --profile 'my gw' --base-url ")
    shell.house.intercept = None
    resumed = await shell.run("resume", job, "--profile", "my gw", **more)
    assert resumed.code == 0, resumed.err


def test_a_job_is_continued_by_the_profile_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    monkeypatch.setenv("CHUNKUP_CONFIG", str(file))
    account = Account("https://gw.example/v1", organization="org-b", key_hash="00")
    file.write_text(
        '[profiles.bad]\nbase_url = 5\n[profiles.worse]\nbase_url = "ftp://x"\n'
        '[profiles.other]\nbase_url = "https://other.example/v1"\n'
        '[profiles.a]\nbase_url = "https://gw.example/v1"\norganization = "org-a"\n'
        '[profiles.b]\nbase_url = "https://GW.example/v1/"\norganization = "org-b"\n'
    )
    where = Where.of(account, None)
    assert where.profile is not None
    assert where.command("resume", "abc123") == (
        "chunkup resume abc123 --profile b --base-url https://gw.example/v1 --organization org-b"
    )
    file.write_text("this is no TOML")
    assert Where.of(account, None).profile is None
    file.unlink()
    assert Where.of(account, None).profile is None


# --- kinds of values ------------------------------------------------------------------------


def test_rates_are_options_too() -> None:
    assert Rate().convert("40Mbit/s", None, None) == 5_000_000
    for bad in ("0", "5Mb/s", "fast"):
        with pytest.raises(click.UsageError):
            Rate().convert(bad, None, None)
