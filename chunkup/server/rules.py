"""What the API allows: decisions over rows, without disk, clock or network."""

import secrets
import string
from collections.abc import Sequence

from chunkup.server.errors import ApiError, shown
from chunkup.server.rows import PartRow, UploadRow

BATCH_FILE_SECONDS = 2_592_000
"""Life of a file with purpose `batch` for which no other was asked: 30 days, as documented."""


def require_pending(upload: UploadRow, *, cancelling: bool = False) -> UploadRow:
    """Return the upload if it is pending.

    Raises:
        ApiError: 400 with a message that says how it ended.
    """
    if upload.status == "pending":
        return upload
    said = f"is not pending: it is {upload.status}"
    if upload.status == "expired":
        said = "is expired"
    elif cancelling and upload.status == "cancelled":
        said = "is already cancelled"
    raise ApiError(400, f"Upload '{upload.id}' {said}.", param="upload_id")


def chosen_parts(
    upload: UploadRow, parts: Sequence[PartRow], part_ids: Sequence[str]
) -> list[PartRow]:
    """Return the parts that `part_ids` name, in that order.

    Raises:
        ApiError: 400 for an id that is unknown or listed twice, or parts that do not add up.
    """
    known = {part.id: part for part in parts}
    chosen: dict[str, PartRow] = {}
    for part_id in part_ids:
        if part_id not in known:
            message = f"No such Part in upload '{upload.id}': {shown(part_id)}"
            raise ApiError(400, message, param="part_ids")
        if part_id in chosen:
            raise ApiError(400, f"Part '{part_id}' is listed twice.", param="part_ids")
        chosen[part_id] = known[part_id]
    total = sum(part.bytes for part in chosen.values())
    if total != upload.bytes:
        message = (
            f"The parts add up to {total} bytes, which does not match the {upload.bytes} bytes"
            " declared when the upload was created."
        )
        raise ApiError(400, message, param="bytes")
    return list(chosen.values())


def require_room(upload: UploadRow, stored: Sequence[PartRow], size: int) -> None:
    """Refuse a part of `size` bytes that takes all that is stored beyond the declared bytes.

    Raises:
        ApiError: 400 about the size.
    """
    total = sum(part.bytes for part in stored) + size
    if total > upload.bytes:
        message = (
            f"The parts would add up to {total} bytes, which exceeds the {upload.bytes} bytes"
            " declared when the upload was created."
        )
        raise ApiError(400, message, param="bytes")


def require_no_orphans(
    upload: UploadRow, stored: Sequence[PartRow], part_ids: Sequence[str]
) -> None:
    """Refuse to complete while parts are stored that `part_ids` does not name.

    Raises:
        ApiError: 400 about the size.
    """
    listed = set(part_ids)
    orphans = {part.id: part.bytes for part in stored if part.id not in listed}
    if orphans:
        message = (
            f"The upload holds {sum(orphans.values())} bytes in parts that are not listed,"
            f" beyond the {upload.bytes} bytes declared when it was created."
        )
        raise ApiError(400, message, param="bytes")


def file_deadline(created_at: int, purpose: str, seconds: int | None) -> int | None:
    """Return when a file expires in Unix seconds, or None when it lives on."""
    if seconds is None and purpose == "batch":
        seconds = BATCH_FILE_SECONDS
    return None if seconds is None else created_at + seconds


def new_file_id() -> str:
    """Return an id that looks as the API's do: 22 letters and digits."""
    alphabet = string.ascii_letters + string.digits
    return "file-" + "".join(secrets.choice(alphabet) for _ in range(22))
