"""Keyword arguments that several calls pass on, for type checkers."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from chunkup.endpoint import Signer
from chunkup.key import KeySource
from chunkup.models import Limits, Options
from chunkup.providers import Auth, Provider

if TYPE_CHECKING:
    import aiohttp


class Changes(TypedDict, total=False):
    """What :meth:`chunkup.AsyncUploader.with_options` changes."""

    part_size: int
    md5: bool
    workers: int
    retries: int
    stall_timeout: float
    complete_timeout: float
    wait_limit: float
    offline_wait: float
    looks: tuple[float, ...]
    patience: float
    generations: int
    fail_if_late: bool
    limit_rate: float | None


class Settings(TypedDict, total=False):
    """The arguments of :class:`chunkup.AsyncUploader`."""

    base_url: str | None
    api_key: str | KeySource | None
    organization: str | None
    project: str | None
    headers: Mapping[str, str] | None
    allow_http: bool
    no_key: bool
    journal: str | os.PathLike[str] | None
    limits: Limits | None
    preset: str | Provider | None
    auth: Auth | None
    query: Mapping[str, str] | None
    signer: Signer | None
    cacert: str | os.PathLike[str] | None
    client_cert: str | os.PathLike[str] | None
    client_key: str | os.PathLike[str] | None
    part_size: int
    md5: bool
    options: Options | None
    trace_configs: Sequence["aiohttp.TraceConfig"]
    command: str
    progress: bool | None
