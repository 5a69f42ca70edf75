"""What is known of those with /files and without /uploads, each fact with where it was read.

As in :mod:`chunkup.providers.presets`: nothing is guessed, and "MB" is read as the larger.
"""

from dataclasses import replace
from typing import Final

from chunkup.models import MIB, Limits
from chunkup.providers.dialect import Fact, Paging, Provider

_READ: Final = "2026-11-21"


def _fact(about: str, says: str, source: str) -> Fact:
    return Fact(about, says, source, _READ)


_QWEN: Final = "docs.qwencloud.com/api-reference/platform-api/file/upload-file"
_MODEL_STUDIO: Final = "alibabacloud.com/help/en/model-studio/openai-file-interface"
DASHSCOPE: Final = Provider(
    name="dashscope",
    title="DashScope (Model Studio)",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    limits=Limits(file=500 * MIB, by_purpose=(("file-extract", 150 * MIB),)),
    hosts=("dashscope.aliyuncs.com",),
    key="DASHSCOPE_API_KEY",
    uploads=False,
    purposes=("file-extract", "batch"),
    expires=False,
    facts=(
        _fact("limits", "file-extract 150 MB, batch 500 MB", _QWEN),
        _fact("key", "DASHSCOPE_API_KEY", _MODEL_STUDIO),
        _fact("uploads", "none documented", _QWEN),
        _fact("purposes", "file-extract, batch", _QWEN),
        _fact("expires", "files never expire, and no parameter says otherwise", _QWEN),
        _fact("quirk", "ids begin with file-fe-", _QWEN),
    ),
)
DASHSCOPE_INTL: Final = replace(
    DASHSCOPE,
    name="dashscope-intl",
    title="DashScope (Model Studio), international",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    hosts=("dashscope-intl.aliyuncs.com",),
)
_KIMI: Final = "platform.moonshot.ai/docs/api/files, platform.kimi.ai/docs/api/files-retrieve"
MOONSHOT: Final = Provider(
    name="moonshot",
    title="Moonshot (Kimi)",
    base_url="https://api.moonshot.ai/v1",
    limits=Limits(file=100 * MIB),
    hosts=("api.moonshot.ai", "api.moonshot.cn"),
    key="MOONSHOT_API_KEY",
    uploads=False,
    purposes=("file-extract", "image", "video", "batch"),
    expires=False,
    facts=(
        _fact("limits", "100 MB a file, 1,000 files, 10 GB in all", _KIMI),
        _fact("key", "MOONSHOT_API_KEY", _KIMI),
        _fact("uploads", "none documented", _KIMI),
        _fact("purposes", "file-extract, image, video, batch", _KIMI),
        _fact("expires", "POST /files takes file and purpose", _KIMI),
        _fact("quirk", "a File's status is ok or ready", _KIMI),
    ),
)
_BIGMODEL: Final = "docs.bigmodel.cn/api-reference, files"
ZHIPU: Final = Provider(
    name="zhipu",
    title="Zhipu (BigModel)",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    limits=Limits(
        file=100 * MIB,
        by_purpose=(
            *(("batch", 100 * MIB), ("file-extract", 50 * MIB)),
            *(("code-interpreter", 20 * MIB), ("agent", 20 * MIB)),
        ),
    ),
    hosts=("open.bigmodel.cn",),
    uploads=False,
    purposes=("batch", "file-extract", "code-interpreter", "agent", "voice-clone-input"),
    expires=False,
    facts=(
        _fact("limits", "batch 100 MB, file-extract 50 MB, the others 20 MB", _BIGMODEL),
        _fact("uploads", "none documented", _BIGMODEL),
        _fact(
            "purposes",
            "batch, file-extract, code-interpreter, agent, voice-clone-input",
            _BIGMODEL,
        ),
        _fact("expires", "POST /files takes file and purpose", _BIGMODEL),
        _fact("quirk", "Files have no status", _BIGMODEL),
    ),
)
_LA_PLATEFORME: Final = (
    "docs.mistral.ai/api/endpoint/files; mistralai/client-python docs/sdks/files"
)
MISTRAL: Final = Provider(
    name="mistral",
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    limits=Limits(file=512 * MIB),
    hosts=("api.mistral.ai",),
    key="MISTRAL_API_KEY",
    uploads=False,
    purposes=("fine-tune", "batch", "ocr", "audio"),
    expires=False,
    paging=Paging.PAGES,
    requests=False,
    facts=(
        _fact("limits", "512 MB a file", _LA_PLATEFORME),
        _fact("key", "MISTRAL_API_KEY", _LA_PLATEFORME),
        _fact("uploads", "none documented", _LA_PLATEFORME),
        _fact("purposes", "fine-tune, batch, ocr, audio", _LA_PLATEFORME),
        _fact("expires", "a parameter of its own, expiry, and no expires_after", _LA_PLATEFORME),
        _fact("paging", "page and page_size from 0, and the total", _LA_PLATEFORME),
        _fact(
            "requests",
            "a line of a batch has custom_id and body; url and model belong to the job",
            "docs.mistral.ai/studio-api/batch-processing",
        ),
        _fact("quirk", "ids are UUIDs; bytes may be null in a list", _LA_PLATEFORME),
    ),
)
_GROQ: Final = "console.groq.com/docs/api-reference, files"
GROQ: Final = Provider(
    name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    limits=Limits(file=100 * MIB),
    hosts=("api.groq.com",),
    key="GROQ_API_KEY",
    uploads=False,
    purposes=("batch",),
    expires=False,
    paging=Paging.WHOLE,
    facts=(
        _fact("limits", "batch files of 100 MB", _GROQ),
        _fact("key", "GROQ_API_KEY", _GROQ),
        _fact("uploads", "none documented", _GROQ),
        _fact("purposes", "batch", _GROQ),
        _fact("expires", "POST /files takes file and purpose", _GROQ),
        _fact("paging", "a list takes no parameters and is whole", _GROQ),
        _fact("quirk", "Files have no status", _GROQ),
    ),
)
_XAI: Final = "docs.x.ai/developers/rest-api-reference/files/upload"
XAI: Final = Provider(
    name="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    limits=Limits(file=50 * MIB),
    hosts=("api.x.ai",),
    key="XAI_API_KEY",
    uploads=False,
    facts=(
        _fact("limits", "50 MB a file", _XAI),
        _fact("key", "XAI_API_KEY", "docs.x.ai/developers/files/managing-files"),
        _fact("uploads", "none; a protocol of its own for larger files", _XAI),
        _fact("quirk", "purpose is a label that nothing depends on", _XAI),
        _fact("quirk", "expires_after behind the file is refused with 400", _XAI),
        _fact("quirk", "a list goes on by a token of its own, not by after", _XAI),
    ),
)
_OPENROUTER: Final = "openrouter.ai/docs/guides/features/files-api and its API reference"
OPENROUTER: Final = Provider(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    limits=Limits(file=100 * MIB),
    hosts=("openrouter.ai",),
    key="OPENROUTER_API_KEY",
    uploads=False,
    expires=False,
    labels=False,
    facts=(
        _fact("limits", "104,857,600 bytes a file, 10 GiB in all", _OPENROUTER),
        _fact("key", "OPENROUTER_API_KEY", _OPENROUTER),
        _fact("uploads", "none documented", _OPENROUTER),
        _fact("expires", "files do not expire", _OPENROUTER),
        _fact("labels", "a File has no purpose", _OPENROUTER),
        _fact("quirk", "size_bytes for bytes, and a date in words", _OPENROUTER),
        _fact("quirk", "an empty file 400, too large 413, storage full 403", _OPENROUTER),
    ),
)
_SILICON: Final = "docs.siliconflow.cn/cn/api-reference/batch"
SILICONFLOW: Final = Provider(
    name="siliconflow",
    title="SiliconFlow",
    base_url="https://api.siliconflow.cn/v1",
    limits=Limits(),
    hosts=("api.siliconflow.cn",),
    uploads=False,
    purposes=("batch",),
    expires=False,
    facts=(
        _fact("uploads", "none documented", _SILICON),
        _fact("purposes", "batch", _SILICON),
        _fact("expires", "POST /files takes file and purpose", _SILICON),
        _fact("quirk", "answers are wrapped in code, message, status and data", _SILICON),
    ),
)
_DEEPINFRA: Final = "docs.deepinfra.com/batch/file-endpoints"
DEEPINFRA: Final = Provider(
    name="deepinfra",
    title="DeepInfra",
    base_url="https://api.deepinfra.com/v1/openai",
    limits=Limits(file=200 * MIB),
    hosts=("api.deepinfra.com",),
    key="DEEPINFRA_TOKEN",
    uploads=False,
    purposes=("batch",),
    facts=(
        _fact("limits", "batch files of 200 MB", _DEEPINFRA),
        _fact("key", "DEEPINFRA_TOKEN", _DEEPINFRA),
        _fact("uploads", "none documented", _DEEPINFRA),
        _fact("purposes", "batch", _DEEPINFRA),
        _fact("quirk", "a File expires after 30 days unless told otherwise", _DEEPINFRA),
    ),
)
_NOVITA: Final = "novita.ai/docs/api-reference/model-apis-llm-upload-batch-input-file"
NOVITA: Final = Provider(
    name="novita",
    title="Novita",
    base_url="https://api.novita.ai/openai/v1",
    limits=Limits(),
    hosts=("api.novita.ai",),
    uploads=False,
    purposes=("batch",),
    expires=False,
    facts=(
        _fact("uploads", "none documented", _NOVITA),
        _fact("purposes", "batch", _NOVITA),
        _fact("expires", "POST /files takes file and purpose", _NOVITA),
    ),
)
_PERPLEXITY: Final = "docs.perplexity.ai/api-reference/files-create-post"
PERPLEXITY: Final = Provider(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai/v1",
    limits=Limits(file=200 * MIB),
    hosts=("api.perplexity.ai",),
    uploads=False,
    purposes=("batch",),
    expires=False,
    facts=(
        _fact("limits", "200 MB and 50,000 lines a file", _PERPLEXITY),
        _fact("uploads", "none documented", _PERPLEXITY),
        _fact("purposes", "batch", _PERPLEXITY),
        _fact("expires", "expires_after is refused with 400", _PERPLEXITY),
        _fact("quirk", "every line is checked before the file is kept", _PERPLEXITY),
    ),
)
_CEREBRAS: Final = "inference-docs.cerebras.ai/api-reference/file"
CEREBRAS: Final = Provider(
    name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    limits=Limits(file=200 * MIB),
    hosts=("api.cerebras.ai",),
    key="CEREBRAS_API_KEY",
    uploads=False,
    purposes=("batch",),
    facts=(
        _fact("limits", "200 MB a file", _CEREBRAS),
        _fact("key", "CEREBRAS_API_KEY", _CEREBRAS),
        _fact("uploads", "none documented", _CEREBRAS),
        _fact("purposes", "batch", _CEREBRAS),
        _fact("quirk", "a File expires after 7 days unless told otherwise", _CEREBRAS),
        _fact("quirk", "Files have no status; a page has 100 at most", _CEREBRAS),
    ),
)

VENDORS: Final = (
    *(DASHSCOPE, DASHSCOPE_INTL, MOONSHOT, ZHIPU, MISTRAL, GROQ, XAI, OPENROUTER, SILICONFLOW),
    *(DEEPINFRA, NOVITA, PERPLEXITY, CEREBRAS),
)
