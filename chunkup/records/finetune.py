"""The examples of a fine-tuning file, in the format that the first of them has.

What the server is known to refuse is an error. OpenAI's cookbook is stricter, and older than
tools, images and the developer role: what only it complains of is a warning.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from chunkup.records.finding import Finding, shown
from chunkup.records.lines import Block, parse

# A code, what to say, and whether the server surely refuses it.
_Wrong = tuple[str, str, bool]

_FEWEST: Final = 10
_ROLES: Final = {"system", "developer", "user", "assistant", "tool", "function"}
_KEYS: Final = {
    *("role", "content", "name", "weight", "function_call", "tool_calls", "tool_call_id"),
    *("refusal", "audio", "reasoning_content", "annotations"),
}
# What stands for content in a message of the assistant.
_INSTEAD: Final = ("tool_calls", "function_call", "refusal", "audio")
# Guide and cookbook call it an output, the schema a completion.
_PREFERENCES: Final = (
    ("preferred_output", "preferred_completion"),
    ("non_preferred_output", "non_preferred_completion"),
)
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


class FineTune:
    """Rules for the examples of a fine-tuning file."""

    def __init__(self) -> None:
        self._format: str | None = None
        self._examples = 0

    def block(self, block: Block) -> tuple[list[Finding], Sequence[int] | None]:
        """What is wrong in some examples."""
        findings: list[Finding] = []
        rows = block.rows(_OBJECT.decode)
        for at, row in enumerate(rows):
            place = block.first + at, block.start(at)
            record = row
            if record is None:
                record, found = parse(block.lines[at], *place)
                findings += found
            if record is not None:
                wrong = self._example(record)
                findings += [Finding(code, said, *place, sure) for code, said, sure in wrong]
        return findings, None

    def close(self) -> list[Finding]:
        """Nothing more comes."""
        if 0 < self._examples < _FEWEST:
            few = "is 1 example" if self._examples == 1 else f"are {self._examples} examples"
            said = f"there {few}, and a fine-tuning job wants at least {_FEWEST}"
            return [Finding("too_few_examples", said, error=False)]
        return []

    def _example(self, record: dict[str, Any]) -> Iterator[_Wrong]:
        self._examples += 1
        kind = _format_of(record)
        if self._format is None:
            self._format = kind or ""
            if kind is None:
                said = "this is no chat, completion, preference or reinforcement example"
                yield "unknown_format", said, False
                return
        if not self._format:
            return
        # Those two differ in the end of their messages, which is no matter of a format.
        if kind == "reinforcement" and self._format == "chat":
            kind = "chat"
        if kind == "chat" and self._format == "reinforcement":
            kind = "reinforcement"
        if kind is not None and kind != self._format:
            said = f"this is an example for {kind}, and those before are for {self._format}"
            yield "format_mismatch", said, True
            return
        match self._format:
            case "chat":
                yield from _chat(record.get("messages"), ends="assistant")
            case "reinforcement":
                yield from _chat(record.get("messages"), ends="user")
            case "completions":
                yield from _completions(record)
            case _:
                yield from _preference(record)


def _format_of(record: dict[str, Any]) -> str | None:
    if any(name in record for names in _PREFERENCES for name in names):
        return "preference"
    if "messages" in record:
        return "reinforcement" if _last_role(record["messages"]) == "user" else "chat"
    if "prompt" in record or "completion" in record:
        return "completions"
    return None


def _last_role(messages: object) -> object:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last.get("role") if isinstance(last, dict) else None


def _completions(record: dict[str, Any]) -> Iterator[_Wrong]:
    for name in ("prompt", "completion"):
        value = record.get(name)
        if value is None:
            yield "missing_required_parameter", f"{name} is missing", True
        elif value in ("", []):
            yield "missing_content", f"{name} is empty", False


def _preference(record: dict[str, Any]) -> Iterator[_Wrong]:
    given = record.get("input")
    if isinstance(given, dict):
        yield from _messages(given.get("messages"), "input.messages")
    else:
        yield "missing_required_parameter", "input is missing, or not an object", True
    for names in _PREFERENCES:
        name = next((name for name in names if name in record), None)
        if name is None:
            yield "missing_required_parameter", f"{names[0]} is missing", True
        else:
            yield from _messages(record[name], name)


def _chat(messages: object, *, ends: str) -> Iterator[_Wrong]:
    wrong = list(_messages(messages, "messages"))
    yield from wrong
    if not isinstance(messages, list) or any(sure for _, _, sure in wrong):
        return
    roles = [message["role"] for message in messages]
    if ends == "assistant" and ends not in roles:
        said = "there is no message of the assistant to learn from"
        yield "example_missing_assistant_message", said, False
    elif roles[-1] != ends:
        said = f"the last message is by {shown(roles[-1])}, and should be by the {ends}"
        yield "unexpected_last_message", said, False


def _messages(messages: object, name: str) -> Iterator[_Wrong]:
    if not isinstance(messages, list) or not messages:
        state = "empty" if messages == [] else "missing, or not a list"
        yield "missing_messages_list", f"{name} is {state}", True
        return
    for number, message in enumerate(messages, 1):
        if isinstance(message, dict):
            yield from _message(message, f"message {number} of {name}")
        else:
            said = f"message {number} of {name} is {shown(message)}, not an object"
            yield "missing_messages_list", said, True


def _message(message: dict[str, Any], name: str) -> Iterator[_Wrong]:
    role = message.get("role")
    if not isinstance(role, str):
        yield "message_missing_key", f"{name} has no role", True
        return
    if role not in _ROLES:
        yield "unrecognized_role", f"{name} is by {shown(role)}", False
    strange = [key for key in message if key not in _KEYS]
    if strange:
        yield "message_unrecognized_key", f"{name} has {shown(strange[0])}", False
    if not message.get("content") and not any(message.get(key) for key in _INSTEAD):
        yield "missing_content", f"{name} has no content", False
