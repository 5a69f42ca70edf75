"""What is known of OpenAI, Azure and of gateways, each fact with where it was read.

Nobody's word is guessed: what no source says stands at the default, which is what OpenAI does or
what is asked of the server. Where a source says "MB", the larger reading is the one to refuse
beyond. How long an Upload lives is no fact here: every answer says it.
"""

from dataclasses import replace
from typing import Final

from chunkup.models import GIB, MIB, PART_SIZE, Limits
from chunkup.providers.dialect import Auth, Fact, Paging, Provider

OFFICIAL: Final = "https://api.openai.com/v1"
_READ: Final = "2026-11-21"
_SIX: Final = ("batch", "user_data", "fine-tune", "vision", "assistants", "evals")
_BATCH_200: Final = (("batch", 200 * 10**6),)
_ENDPOINTS: Final = (
    *("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions"),
    *("/v1/moderations", "/v1/images/generations", "/v1/images/edits", "/v1/videos"),
)


def _fact(about: str, says: str, source: str) -> Fact:
    return Fact(about, says, source, _READ)


_OPENAI: Final = "OpenAI API reference, Files and Uploads; openai/openai-openapi f85dbe2"
OPENAI: Final = Provider(
    name="openai",
    title="OpenAI",
    base_url=OFFICIAL,
    limits=Limits(
        part=PART_SIZE,
        upload=8 * GIB,
        file=512 * MIB,
        by_purpose=_BATCH_200,
        records=(("batch", 50_000),),
        inputs=50_000,
    ),
    hosts=(".api.openai.com",),
    key="OPENAI_API_KEY",
    uploads=True,
    purposes=_SIX,
    stamps=True,
    endpoints=_ENDPOINTS,
    facts=(
        # "8 GB" is nowhere defined.
        _fact("limits", "8 GB an Upload, 64 MB a part", _OPENAI),
        _fact("limits", "512 MB a File in one request", _OPENAI),
        _fact("limits", "batch files of 200 MB and 50,000 lines", _OPENAI),
        _fact("limits", "50,000 inputs in all lines of a batch of embeddings", _OPENAI),
        _fact("endpoints", ", ".join(_ENDPOINTS), _OPENAI),
        _fact("uploads", "four POSTs: create, add part, complete, cancel", _OPENAI),
        _fact("purposes", "six on POST /files; four in the schema of POST /uploads", _OPENAI),
        _fact("key", "OPENAI_API_KEY", "openai/openai-python e43b422, README"),
        _fact(
            "stamps",
            "a File has its Upload's created_at",
            "openai/openai-dotnet b3b4bbb, tests/SessionRecords: recordings of the real API",
        ),
    ),
)
COMPATIBLE: Final = replace(
    OPENAI,
    name="compatible",
    title="anybody else",
    base_url=None,
    hosts=(),
    key=None,
    uploads=None,
    stamps=False,
    endpoints=(),
    facts=(),
)

_AZURE_HOSTS: Final = (".openai.azure.com",)
_AZURE_SPEC: Final = (
    "Azure/azure-rest-api-specs, AzureOpenAI authoring 2024-10-21, specification and examples"
)
_AZURE_V1: Final = "learn.microsoft.com/azure/foundry/reference/rest, uploads and files"
AZURE: Final = Provider(
    name="azure",
    title="Azure OpenAI, dated API",
    base_url=None,
    limits=Limits(part=PART_SIZE, upload=9 * GIB, file=512 * MIB),
    key="AZURE_OPENAI_API_KEY",
    auth=Auth.API_KEY,
    uploads=True,
    purposes=("batch", "fine-tune", "assistants"),
    paging=Paging.WHOLE,
    facts=(
        _fact("limits", "9 GB an Upload; 512 MB a File in one request", _AZURE_SPEC),
        _fact("auth", "the header api-key, or a Bearer token of Entra", _AZURE_SPEC),
        _fact("query", "api-version on every request", _AZURE_SPEC),
        _fact("key", "AZURE_OPENAI_API_KEY", "openai/openai-python 3.52.0, lib/azure.py"),
        _fact("uploads", "all four calls, since 2024-08-01-preview", _AZURE_SPEC),
        _fact("purposes", "fine-tune, assistants, batch", _AZURE_SPEC),
        _fact("paging", "a list takes purpose and nothing else", _AZURE_SPEC),
        _fact("quirk", "POST /files answers 201 without bytes, status pending", _AZURE_SPEC),
        _fact(
            "quirk",
            "a form's file without a content type is refused (invalidPayload)",
            "Azure/azure-sdk-for-net issue 44710",
        ),
        _fact(
            "quirk",
            "a few of many fresh Files are 404 for a moment",
            "Azure/azure-sdk-for-net issue 47121",
        ),
    ),
)
AZURE_V1: Final = Provider(
    name="azure-v1",
    title="Azure OpenAI, v1 API",
    base_url=None,
    limits=Limits(part=PART_SIZE, file=512 * MIB),
    hosts=_AZURE_HOSTS,
    key="AZURE_OPENAI_API_KEY",
    auth=Auth.API_KEY,
    purposes=("batch", "fine-tune", "assistants", "evals"),
    facts=(
        _fact("auth", "as the dated API", _AZURE_V1),
        _fact("key", "AZURE_OPENAI_API_KEY", "openai/openai-python 3.52.0, lib/azure.py"),
        _fact("limits", "512 MB a File in one request", _AZURE_V1),
        _fact("purposes", "assistants, batch, fine-tune, evals", _AZURE_V1),
        _fact("hosts", "NAME.openai.azure.com", _AZURE_V1),
        # One page lists /uploads, another says that it answers 404: so it is asked.
        _fact("uploads", "documented, and said to be absent at project endpoints", _AZURE_V1),
    ),
)

_PORTKEY: Final = "portkey.ai/docs/product/ai-gateway/files; Portkey-AI/gateway 669825c"
_LITELLM: Final = "docs.litellm.ai/docs/files_endpoints"
_STDAPI: Final = "stdapi-ai/stdapi.ai, docs/api_openai_files.md 148c17c"
GATEWAYS: Final = (
    Provider(
        name="portkey",
        title="Portkey",
        base_url="https://api.portkey.ai/v1",
        limits=OPENAI.limits,
        hosts=("api.portkey.ai",),
        key="PORTKEY_API_KEY",
        facts=(
            _fact("key", "PORTKEY_API_KEY, as a Bearer token", _PORTKEY),
            _fact("quirk", "the provider behind it by x-portkey-provider or -config", _PORTKEY),
            _fact("uploads", "no route of its own; passed on to the provider", _PORTKEY),
            _fact("quirk", "an empty body announced as JSON is a 500", _PORTKEY),
        ),
    ),
    Provider(
        name="litellm",
        title="LiteLLM proxy",
        base_url=None,
        limits=OPENAI.limits,
        facts=(
            _fact("uploads", "no route of its own; an operator may pass it through", _LITELLM),
            _fact("quirk", "ids may be routes in code, hundreds of characters", _LITELLM),
            _fact(
                "quirk",
                "limit and after are ignored, has_more may be true for ever",
                "BerriAI/litellm issues 36326 and 37855",
            ),
        ),
    ),
    Provider(
        name="bifrost",
        title="Bifrost",
        base_url=None,
        limits=OPENAI.limits,
        facts=(
            _fact(
                "quirk", "the provider behind it by x-model-provider", "Bifrost's HTTP transport"
            ),
        ),
    ),
    Provider(
        name="stdapi",
        title="stdapi.ai",
        base_url=None,
        limits=Limits(part=PART_SIZE),
        uploads=True,
        ordered=True,
        purposes=_SIX,
        facts=(
            _fact("uploads", "all four calls; an Upload lives a day", _STDAPI),
            _fact(
                "ordered",
                "part_ids in another order than the parts arrived in is a 400",
                _STDAPI,
            ),
            _fact("limits", "no limit of its own to a file; parts but the last of 5 MiB", _STDAPI),
            _fact("purposes", "assistants, batch, fine-tune, vision, user_data, evals", _STDAPI),
            _fact("quirk", "a filename with quotes or line ends is refused", _STDAPI),
        ),
    ),
    Provider(
        name="llama-stack",
        title="Llama Stack",
        base_url=None,
        limits=Limits(),
        uploads=False,
        purposes=("batch", "assistants"),
        expires=False,
        facts=(
            _fact("uploads", "POST /files only", "llamastack.github.io/docs/v0.4.0"),
            _fact("purposes", "batch; assistants before", "llamastack.github.io/docs/v0.4.0"),
            _fact("expires", "not implemented for local files", "meta-llama/llama-stack b12cd52"),
            _fact("quirk", "Files have no status", "llamastack.github.io/docs/v0.4.0"),
            _fact("quirk", "a File that is gone is a 400", "llama-stack 0.2.12, tried"),
        ),
    ),
)
