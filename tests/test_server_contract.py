"""The published contract, driven by Schemathesis against the server on a real socket."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pytest
import schemathesis
from contract import contract_path
from elsewhere import in_a_thread, listening
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    unsupported_method,
    use_after_free,
)

from chunkup.server.app import create_app
from chunkup.server.store import NewUpload, Store

KEY = "contract-key"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}

# The contract documents 200 alone, so status codes are not compared with it.
CHECKS = [
    not_a_server_error,
    response_schema_conformance,
    content_type_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
    use_after_free,
]

MODEST = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def overlaid(contract: dict[str, Any]) -> dict[str, Any]:
    """Correct the contract where recordings and SDKs of the same provider know better."""
    contract = copy.deepcopy(contract)
    schemas = contract["components"]["schemas"]
    # The SDKs' six purposes hold for Uploads as well, and `evals` comes back as it went in.
    six = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
    schemas["CreateUploadRequest"]["properties"]["purpose"]["enum"] = six
    schemas["OpenAIFile"]["properties"]["purpose"]["enum"].append("evals")
    # What is unset comes as null.
    for name in ("expires_at", "status_details"):
        schemas["OpenAIFile"]["properties"][name]["type"] = [
            schemas["OpenAIFile"]["properties"][name]["type"],
            "null",
        ]
    # The contract lets a client declare nothing, or less, or more than 8 GB.
    create = schemas["CreateUploadRequest"]["properties"]
    create["bytes"] |= {"minimum": 1, "maximum": 8 << 30}
    for name in ("filename", "mime_type"):
        create[name]["minLength"] = 1
    # Content comes as it is, and not as a JSON string.
    download = contract["paths"]["/files/{file_id}/content"]["get"]["responses"]["200"]
    download["content"] = {"application/octet-stream": {"schema": {"format": "binary"}}}
    # Refusals have one shape, which the contract of the whole API defines.
    error = {
        "type": "object",
        "additionalProperties": False,
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "message", "param", "code"],
                "properties": {
                    "type": {"type": "string"},
                    "message": {"type": "string", "minLength": 1},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    }
    for path in contract["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {
                "description": "Refused",
                "content": {"application/json": {"schema": error}},
            }
    return contract


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    store: Store


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = Store(tmp_path_factory.mktemp("contract"))
    app = create_app(store, key=KEY)
    try:
        with in_a_thread(lambda: listening(app)) as url:
            yield Served(url, store)
    finally:
        store.close()


def load() -> Any:
    path = contract_path()
    return schemathesis.openapi.from_dict(overlaid(schemathesis.openapi.from_path(path).raw_schema))


api = load()

Test = TypeVar("Test", bound=Callable[..., None])


def operations(**only: Any) -> Callable[[Test], Test]:
    schema = api.include(**only) if only else api
    return cast("Callable[[Test], Test]", schema.parametrize())


@operations()
@settings(MODEST, phases=[Phase.explicit, Phase.generate])
def test_each_call_keeps_the_contract(case: Any, served: Served) -> None:
    case.call_and_validate(served.url, headers=AUTHORIZED, checks=CHECKS)


@operations(path_regex="upload_id")
@settings(MODEST, phases=[Phase.explicit, Phase.generate])
def test_each_call_on_an_upload_that_exists_keeps_the_contract(case: Any, served: Served) -> None:
    # Random ids never get past the 404; a fresh upload each time lets the body be judged.
    new = NewUpload(filename="a.jsonl", bytes=1, mime_type="text/jsonl", purpose="batch")
    case.path_parameters["upload_id"] = served.store.create_upload(new).id
    case.call_and_validate(served.url, headers=AUTHORIZED, checks=CHECKS)


@operations(operation_id=["createUpload", "addUploadPart"])
@settings(MODEST, phases=[Phase.explicit, Phase.generate])
def test_what_the_contract_allows_is_accepted(case: Any, served: Served) -> None:
    if "upload_id" in case.path_parameters:
        new = NewUpload(filename="a.jsonl", bytes=1, mime_type="text/jsonl", purpose="batch")
        case.path_parameters["upload_id"] = served.store.create_upload(new).id
    case.call_and_validate(served.url, headers=AUTHORIZED, checks=[positive_data_acceptance])


def test_calls_in_sequence_keep_the_contract(served: Served) -> None:
    class Machine(api.as_state_machine()):  # type: ignore[misc] # the base is made at run time
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            del case
            return {"base_url": served.url, "headers": AUTHORIZED}

        def validate_response(self, response: Any, case: Any, **kwargs: Any) -> None:
            # What must be refused is judged call by call above: here a machine may leave out a
            # header that we add, or add a query parameter, which the API ignores.
            checks = [check for check in CHECKS if check is not negative_data_rejection]
            case.validate_response(
                response, checks=checks, transport_kwargs=kwargs, recorder=self.recorder
            )

    Machine.run(settings=settings(MODEST, max_examples=20, stateful_step_count=12))
