"""All questions, several at a time, within bounds; and then everything away again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chunkup.answers import nonsense
from chunkup.errors import ChunkupError
from chunkup.outlast import outlast
from chunkup.probe.bench import Bench
from chunkup.probe.replies import Untold, told
from chunkup.probe.sweeping import sweep
from chunkup.probe.words import SKIPPED, UNCLEAR, Answered, Found, Question
from chunkup.verdicts import Call, interpret

# Questions at a time. More would be a load, and might be throttled.
_TOGETHER: Final = 4
# The share of the time that is kept for deleting, and the most of it in seconds.
_SHARE: Final = 0.25
_MOST: Final = 15.0


@dataclass(slots=True)
class Course:
    """One run through the questions.

    Attributes:
        bench: What they are asked with.
        questions: Which, and in which order their answers are told.
        timeout: Seconds for everything, deleting included.
        tell: Told every answer, in that order.
        large: Whether to ask what sends 64 MiB.
        stopping: Told that it was cancelled, and that deleting begins.
        answered: What turned out so far.
        late: Whether the time was over before the last question was.
    """

    bench: Bench
    questions: Sequence[Question]
    timeout: float
    tell: Callable[[Answered], None]
    large: bool = False
    stopping: Callable[[], None] = lambda: None
    answered: list[Answered] = field(default_factory=list)
    late: bool = False
    _found: dict[str, asyncio.Future[Found]] = field(default_factory=dict)

    async def run(self) -> None:
        """Ask; whatever happens, delete what was made. ``bench.left`` is what could not be.

        Raises:
            ChunkupError: The first request of all was refused or had no answer.
        """
        reserve = min(self.timeout * _SHARE, _MOST)
        self.bench.patience = min(self.bench.patience, self.timeout * _SHARE)
        loop = asyncio.get_running_loop()
        self._found = {question.name: loop.create_future() for question in self.questions}
        try:
            async with asyncio.timeout(self.timeout - reserve) as limit:
                await self._knock()
                await self._all()
        except TimeoutError:
            if not limit.expired():
                raise
            self.late = True
            self._give_up()
        except asyncio.CancelledError:
            self.stopping()
            raise
        finally:
            await outlast(sweep(self.bench, reserve))

    async def _knock(self) -> None:
        """Ask for a list before anything is made: a wrong key or address is known by that."""
        reply = await self.bench.list_files(limit="1")
        self.bench.began = self.bench.transport.server_now() - 300
        if reply.status in {401, 403} or not reply.tells:
            if not reply.success:
                text = reply.raw.decode("utf-8", "replace")
                raise interpret(reply.status, reply.headers, text, what=Call.LIST)
            raise nonsense("a list of Files")

    async def _all(self) -> None:
        gate = asyncio.Semaphore(_TOGETHER)

        async def one(question: Question) -> None:
            needed = await self._missing(question)
            async with gate:
                self._settle(question, needed or await self._ask(question))

        async with asyncio.TaskGroup() as group:
            for question in self.questions:
                if not question.alone:
                    group.create_task(one(question))
        for question in self.questions:
            if question.alone:
                await one(question)

    async def _missing(self, question: Question) -> Found | None:
        """Why there is no sense in asking, if there is none."""
        if question.large and not self.large:
            return Found(SKIPPED, "asked with --large")
        if question.needs is None or question.needs[0] not in self._found:
            return None
        name, words = question.needs
        # Who gives up waiting must not take the answer from all others.
        found = await asyncio.shield(self._found[name])
        return None if found.word in words else Found(SKIPPED, f"{name}: {found.word}")

    async def _ask(self, question: Question) -> Found:
        try:
            return await question.ask(self.bench)
        except Untold as seen:
            return Found(UNCLEAR, str(seen))
        except ChunkupError as error:
            return Found(UNCLEAR, told(error))

    def _settle(self, question: Question, found: Found) -> None:
        self._found[question.name].set_result(found)
        self._tell()

    def _tell(self) -> None:
        """Tell the answers that are next in order, as far as there are any."""
        for question in self.questions[len(self.answered) :]:
            future = self._found[question.name]
            if not future.done():
                return
            answer = Answered(question, future.result())
            self.answered.append(answer)
            self.tell(answer)

    def _give_up(self) -> None:
        for future in self._found.values():
            if not future.done():
                future.set_result(Found(UNCLEAR, "there was no time left"))
        self._tell()
