"""What the questions ask with: requests as chunkup sends them, and an account of what they made.

Every name that is given has a mark that nobody else has, so that what was made can be found
again even where its id was never told, and nothing else is ever touched.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from chunkup.answers import segment, text_of
from chunkup.body import FormBody
from chunkup.errors import Unreachable
from chunkup.probe.asker import Asker
from chunkup.probe.left import Left
from chunkup.probe.replies import Reply, Untold
from chunkup.providers import MIME_TYPES
from chunkup.transport import Transport
from chunkup.verdicts import Call

# What the bodies of these purposes are called; all others are plain text.
_JSONL: Final = frozenset({"batch", "fine-tune", "evals"})


class Bench(Asker):
    """The calls, an account of what they made, and what several questions begin with.

    Args:
        transport: Where they go; opened and closed by the caller.
        purpose: What all Files are for.
        patience: Seconds for one request.
        pace: What every wait is multiplied with.
    """

    def __init__(
        self, transport: Transport, *, purpose: str, patience: float = 10.0, pace: float = 1.0
    ) -> None:
        super().__init__(transport, patience=patience, pace=pace)
        self.purpose = purpose
        self.mark = secrets.token_hex(6)
        self.left = Left()
        self.deleted: set[str] = set()
        self.began = 0.0
        self.making: set[asyncio.Task[Reply]] = set()
        self._lines = 0
        self._shared: asyncio.Task[tuple[str, bytes]] | None = None

    # --- what is sent -----------------------------------------------------------------------

    @property
    def suffix(self) -> str:
        """The extension that fits the purpose."""
        return ".jsonl" if self.purpose in _JSONL else ".txt"

    @property
    def mime_type(self) -> str:
        """The type that fits the extension."""
        return MIME_TYPES[self.suffix]

    def name(self, more: str = "") -> str:
        """A File's name that tells whose it is."""
        return f"chunkup-probe-{self.mark}{more}{self.suffix}"

    def line(self) -> bytes:
        """A line that the purpose allows, like no other: some servers know equal content again."""
        self._lines += 1
        who = f"chunkup-probe-{self.mark}-{self._lines:03}"
        if self.purpose == "batch":
            body = {"model": "text-embedding-3-small", "input": "hello"}
            row: dict[str, Any] = {"custom_id": who, "method": "POST", "url": "/v1/embeddings"}
            return json.dumps(row | {"body": body}).encode() + b"\n"
        if self.purpose in _JSONL:
            talk = [{"role": "user", "content": who}, {"role": "assistant", "content": "hello"}]
            return json.dumps({"messages": talk}).encode() + b"\n"
        return f"{who}\n".encode()

    # --- the calls --------------------------------------------------------------------------

    async def open_upload(self, size: int, *, name: str | None = None, **more: Any) -> Reply:
        """POST /uploads."""
        body = {
            "filename": name or self.name(),
            "purpose": self.purpose,
            "bytes": size,
            "mime_type": self.mime_type,
            **more,
        }
        return await self._make(
            lambda: self.ask("POST", "/uploads", Call.CREATE, body), self._opened
        )

    async def part(
        self, upload_id: str, content: bytes | Callable[[], AsyncGenerator[bytes]], size: int = 0
    ) -> Reply:
        """POST /uploads/{id}/parts; ``size`` for content that is not in memory."""
        path = f"/uploads/{segment(upload_id)}/parts"

        def form() -> FormBody:
            if isinstance(content, bytes):
                return FormBody(_whole(content), len(content))
            return FormBody(content(), size)

        return await self.ask("POST", path, Call.PART, form)

    async def complete(self, upload_id: str, ids: Sequence[str], md5: str | None = None) -> Reply:
        """POST /uploads/{id}/complete, on a connection of its own as chunkup does it."""
        body: dict[str, Any] = {"part_ids": list(ids)}
        if md5 is not None:
            body["md5"] = md5
        path = f"/uploads/{segment(upload_id)}/complete"

        def became(reply: Reply) -> None:
            self.left.uploads.discard(upload_id)
            self._made(reply.inner("file"))

        return await self._make(
            lambda: self.ask("POST", path, Call.COMPLETE, body, fresh=True), became
        )

    async def cancel(self, upload_id: str, body: Mapping[str, Any] | None = None) -> Reply:
        """POST /uploads/{id}/cancel."""
        path = f"/uploads/{segment(upload_id)}/cancel"
        reply = await self.ask("POST", path, Call.CANCEL, body, fresh=True)
        if reply.success:
            self.left.uploads.discard(upload_id)
        return reply

    async def post_file(
        self,
        content: bytes,
        *,
        name: str | None = None,
        purpose: str | None = None,
        more: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """POST /files."""

        def form() -> FormBody:
            return FormBody(
                _whole(content),
                len(content),
                field="file",
                filename=name or self.name(),
                mime_type=self.mime_type,
                before=(("purpose", purpose or self.purpose), *more),
            )

        return await self._make(
            lambda: self.ask("POST", "/files", Call.POST, form),
            lambda reply: self._made(reply.data),
        )

    async def list_files(self, **query: str) -> Reply:
        """GET /files."""
        return await self.ask("GET", "/files", Call.LIST, params=query)

    async def retrieve(self, file_id: str) -> Reply:
        """GET /files/{id}."""
        return await self.ask("GET", f"/files/{segment(file_id)}", Call.RETRIEVE)

    async def content(self, file_id: str, span: str | None = None) -> Reply:
        """GET /files/{id}/content; ``span`` as a Range header has it."""
        headers = {"Range": f"bytes={span}"} if span else {}
        path = f"/files/{segment(file_id)}/content"
        return await self.ask("GET", path, Call.CONTENT, headers=headers)

    async def delete(self, file_id: str) -> Reply:
        """DELETE /files/{id}, of a File that is ours.

        Raises:
            Untold: It may be somebody else's.
        """
        if file_id not in self.left.files:
            raise Untold("its name is not ours")
        reply = await self.ask("DELETE", f"/files/{segment(file_id)}", Call.DELETE)
        if reply.success:
            self.forget(file_id)
        return reply

    def forget(self, file_id: str) -> None:
        """A File is gone."""
        self.deleted.add(file_id)
        self.left.files.pop(file_id, None)

    # --- several at once --------------------------------------------------------------------

    async def begun(self, size: int, **more: Any) -> str:
        """An Upload of this size; its id.

        Raises:
            Untold: The server opens none.
        """
        return text_of((await self.open_upload(size, **more)).needed().data, "id")

    async def held(self, upload_id: str, *contents: bytes) -> list[str]:
        """Parts of an Upload, sent one after another; their ids.

        Raises:
            Untold: The server takes one of them not.
        """
        return [
            text_of((await self.part(upload_id, content)).needed().data, "id")
            for content in contents
        ]

    async def uploaded(self, **more: Any) -> tuple[str, Reply]:
        """A File made of an Upload of two parts: the Upload's id and the answer to ``complete``.

        Raises:
            Untold: It was not made.
        """
        contents = self.line(), self.line()
        upload_id = await self.begun(sum(map(len, contents)), **more)
        ids = await self.held(upload_id, *contents)
        return upload_id, (await self.complete(upload_id, ids)).needed()

    async def fresh_file(self) -> tuple[str, bytes]:
        """A File just made, by whatever the server has: its id and content.

        Raises:
            Untold: It could not be made.
        """
        content = self.line()
        reply = await self.post_file(content)
        if reply.tells and not reply.taken:
            upload_id = await self.begun(len(content))
            ids = await self.held(upload_id, content)
            done = (await self.complete(upload_id, ids)).needed()
            return text_of(done.inner("file"), "id"), content
        return text_of(reply.needed().data, "id"), content

    async def shared_file(self) -> tuple[str, bytes]:
        """A File that questions share which only look; as :meth:`fresh_file`."""
        if self._shared is None:
            self._shared = asyncio.create_task(self.fresh_file())
        return await asyncio.shield(self._shared)

    async def settle(self, within: float) -> None:
        """Let what is under way come to its end; cut what takes longer."""
        if self._shared is not None:
            self._shared.cancel()
            self._shared.add_done_callback(_heard)
        if self.making:
            _, late = await asyncio.wait(set(self.making), timeout=within)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # --- what is made -----------------------------------------------------------------------

    async def _make(
        self, request: Callable[[], Awaitable[Reply]], account: Callable[[Reply], None]
    ) -> Reply:
        """Carry out a request that makes something, to its end even if nobody waits for it."""

        async def carried() -> Reply:
            known = False
            try:
                reply = await request()
                if reply.taken:
                    account(reply)
                known = reply.tells
            except Unreachable as error:
                known = not error.sent
                raise
            finally:
                if account == self._opened:
                    self.left.unheard += not known
                else:
                    self.left.lost += not known
            return reply

        task = asyncio.create_task(carried())
        self.making.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[Reply]) -> None:
        self.making.discard(task)
        _heard(task)

    def _opened(self, reply: Reply) -> None:
        self.left.uploads.add(text_of(reply.data, "id"))
        self.left.made_uploads += 1

    def _made(self, file: Mapping[str, Any]) -> None:
        file_id, name = text_of(file, "id"), str(file.get("filename") or "")
        if name and self.mark not in name:
            self.left.strangers[file_id] = name
        elif file_id not in self.left.files:
            self.left.files[file_id] = name
            self.left.made_files += 1


def _heard(task: asyncio.Task[Any]) -> None:
    """Whoever asked may have left, and then nobody would hear of the error."""
    if not task.cancelled():
        task.exception()


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content
