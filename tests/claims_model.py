"""Claims as a small machine of their own: every interleaving of processes that want one job.

A step is what nothing can come between: one system call on the owners' folder, or one immediate
transaction, which SQLite lets only one process be in. Between any two steps every other process
may go on, die, or come back. ``explore`` walks through all that can happen, and stops at the
first state that breaks a promise, with the shortest way there.

Each guard is a statement of the implementation. ``Claims(budget, without={...})`` leaves it out.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

GUARDS: Final = {
    "immediate": "the look at the row and its change are one immediate transaction",
    "lock first": "the file is locked before a row names it",
    "lock decides": "an owner lives if its file is locked, whatever process has its number",
    "fence": "a fact is recorded only by whom the row names",
    "fence inside": "that is looked at in the transaction that records the fact",
    "only ours": "a release changes only a row that names who releases",
    "one run": "a process begins no second run of a job that it has not let go of",
    "not again": "neither if the job was taken from it meanwhile, and is free since",
    "given back": "a claim that was cancelled while it was committed is given back",
    "abandoned": "where a release reaches no disk, the lock is let go of",
    "sweep inside": "files of the dead are cleared inside of the transaction",
    "child forgets": "a forked child closes its copy of the lock",
    "fork waits": "no child is forked between the making of a lock and its noting",
    "load after": "facts are read after the claim, not before",
    "asked first": "CompleteAsked is recorded before it is asked",
    "look": "who finds CompleteAsked looks for the File before asking again",
}

Id = tuple[int, int]


class Broken(Exception):
    """A promise that does not hold in some state."""


class Hand(NamedTuple):
    """One run of the job; ``believes`` is what it folded, ``noted`` that it recorded the ask."""

    at: str = "idle"
    takeover: bool = False
    cancelled: bool = False
    believes: bool = False
    looked: bool = False
    noted: bool = False


class Process(NamedTuple):
    """A process in one of its lives; ``linked`` and ``locked`` are its owner's file."""

    life: int = 0
    up: bool = True
    linked: bool = False
    locked: bool = False
    copied: bool = False
    failing: bool = False


class World(NamedTuple):
    """The journal, the server, and everybody; ``holder`` is who committed the last claim."""

    hands: tuple[Hand, ...]
    processes: tuple[Process, ...]
    row: Id | None = None
    holder: int | None = None
    transaction: int | None = None
    asked: bool = False
    done: bool = False
    made: bool = False
    kept: frozenset[Id] = frozenset()
    left: tuple[int, ...] = ()


Step = tuple[str, World]
# What of each can happen in one exploration, so that there is an end.
_KINDS: Final = ("claim", "takeover", "crash", "cancel", "fail", "fork", "clean")
HOLDING: Final = frozenset({"held", "loaded", "checked", "asked", "sent", "giving"})


class Claims:
    """The rules, less the guards that are left out.

    Args:
        budget: How often each of ``claim takeover crash cancel fail fork clean`` can happen. Where
            a file of the living can be removed (``clean``), two may believe that they have the
            job; what they record is judged all the same.
        places: The process of each hand.
        without: Guards that are left out.
    """

    def __init__(
        self,
        budget: Mapping[str, int],
        *,
        places: tuple[int, ...] = (0, 0, 1),
        without: frozenset[str] = frozenset(),
    ) -> None:
        assert without <= GUARDS.keys(), without
        self._places = places
        self._without = without
        self._budget = tuple(budget.get(kind, 0) for kind in _KINDS)

    def start(self) -> World:
        """Nobody has the job."""
        hands = tuple(Hand() for _ in self._places)
        return World(hands, tuple(Process() for _ in set(self._places)), left=self._budget)

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that can happen next.

        Raises:
            Broken: One of these breaks a promise.
        """
        for at in range(len(self._places)):
            if world.processes[self._places[at]].up:
                yield from self.moves(world, at)
        for place in range(len(world.processes)):
            yield from self._fates(world, place)

    def moves(self, world: World, at: int) -> Iterator[Step]:
        """What one run can do next: the implementation's own statements, in their order."""
        for move in (
            *(self._begin, self._make, self._lock, self._look, self._write, self._commit),
            *(self._load, self._check, self._ask, self._send, self._finish, self._search),
            *(self._give, self._cancel),
        ):
            for name, after in move(world, at):
                yield f"{name} {at}", after

    # --- the claim: Owner.claim, between BEGIN IMMEDIATE and COMMIT of Scribe._carry_out --------

    def _begin(self, world: World, at: int) -> Iterator[Step]:
        """``BEGIN IMMEDIATE``; before it ``if job_id in self._claimed: raise busy``."""
        if not self.may_begin(world, at):
            return
        for kind in ("claim", "takeover"):
            if self._can(world, kind):
                hand = world.hands[at]._replace(at="begun", takeover=kind == "takeover")
                after = _set(self._spend(world, kind), at, hand)
                yield (
                    kind,
                    after._replace(transaction=at if self._has("immediate") else world.transaction),
                )

    def may_begin(self, world: World, at: int) -> bool:
        """Whether a claim is not refused before it looks at the row."""
        ready = "idle" if self._has("load after") else "folded"
        if world.hands[at].at != ready:
            return False
        if self._has("immediate") and world.transaction is not None:
            return False
        runs = any(hand.at in HOLDING for hand in self._siblings(world, at))
        refused = self._has("not again") or world.row == self._id(world, at)
        return not (runs and refused and self._has("one run"))

    def _make(self, world: World, at: int) -> Iterator[Step]:
        """``os.open(..., O_CREAT | O_EXCL)``, once for each open journal."""
        if world.hands[at].at != "begun":
            return
        process = self._process(world, at)
        if not self._has("lock first") or process.locked:
            yield "has a file", self._to(world, at, "locked")
        elif not process.linked:
            yield "make", self._to(self._change(world, at, linked=True), at, "made")

    def _lock(self, world: World, at: int) -> Iterator[Step]:
        """``flock(handle, LOCK_EX | LOCK_NB)``."""
        if world.hands[at].at == "made":
            yield "lock", self._to(self._change(world, at, locked=True), at, "locked")
        if world.hands[at].at == "unlocked":  # only without "lock first"
            after = self._change(world, at, linked=True, locked=True)
            yield "lock late", self._to(after, at, "held")

    def _look(self, world: World, at: int) -> Iterator[Step]:
        """``SELECT owner``, then ``lives``: ``flock(LOCK_SH | LOCK_NB)`` on its file."""
        if world.hands[at].at != "locked":
            return
        others = world.row not in {None, self._id(world, at)}
        if others and self.lives(world, world.row) and not world.hands[at].takeover:
            yield "busy", self._out(world, at)
        else:
            yield "free", self._to(world, at, "free")

    def _write(self, world: World, at: int) -> Iterator[Step]:
        """``UPDATE jobs SET owner = ?``, not committed yet."""
        if world.hands[at].at == "free" and world.transaction in {None, at}:
            yield "write", self._to(world._replace(transaction=at), at, "wrote")

    def _commit(self, world: World, at: int) -> Iterator[Step]:
        """``COMMIT``, and the result reaches ``Journal.claim``."""
        hand = world.hands[at]
        if hand.at != "wrote":
            return
        if self._process(world, at).failing:
            yield "claim fails", self._abandon(self._out(world, at), at)
            return
        before = world.holder
        removed = self._budget[_KINDS.index("clean")] > 0
        if before is not None and not (hand.takeover or removed):
            raise Broken(f"{at} claims what {before} has, and was not told to take it over")
        then = "held" if self._has("lock first") else "unlocked"
        if hand.cancelled:
            then = "giving" if self._has("given back") else "idle"
        after = world._replace(row=self._id(world, at), holder=at, transaction=None)
        yield "commit", self._to(after, at, then)

    def _cancel(self, world: World, at: int) -> Iterator[Step]:
        """``CancelledError``: ``outlast`` carries a transaction to its end, all else ends now."""
        hand = world.hands[at]
        if hand.at in {"idle", "folded"} or hand.cancelled or not self._can(world, "cancel"):
            return
        after = _set(self._spend(world, "cancel"), at, hand._replace(cancelled=True))
        yield "cancel", self._to(after, at, "giving") if hand.at in HOLDING else after

    # --- the run: Ledger and Run ---------------------------------------------------------------

    def _load(self, world: World, at: int) -> Iterator[Step]:
        """``Ledger.load``: fold what is committed."""
        hand = world.hands[at]
        early = not self._has("load after")
        if hand.at == "idle" and early:
            yield "fold early", _set(world, at, Hand("folded", believes=world.asked))
        elif hand.at == "held" and world.done:
            yield "done", self._to(world, at, "giving")
        elif hand.at == "held":
            believes = hand.believes if early else world.asked
            yield "load", _set(world, at, hand._replace(at="loaded", believes=believes))

    def _check(self, world: World, at: int) -> Iterator[Step]:
        """``Owner.check`` in a transaction of its own: only without "fence inside"."""
        if self._has("fence inside") or world.transaction is not None:
            return
        hand = world.hands[at]
        if hand.at == "loaded" and not hand.believes:
            ours = world.row == self._id(world, at)
            yield "check", self._to(world, at, "checked" if ours else "giving")

    def _ask(self, world: World, at: int) -> Iterator[Step]:
        """``Journal.record(CompleteAsked)``: the fence and the row in one transaction."""
        hand = world.hands[at]
        ready = "loaded" if self._has("fence inside") else "checked"
        if hand.at != ready or hand.believes or world.transaction is not None:
            return
        if self._process(world, at).failing:
            yield "record fails", self._to(world, at, "giving")
        elif self._has("fence inside") and self._fenced(world, at):
            yield "refused", self._to(world, at, "giving")
        elif self._has("asked first"):
            yield "record ask", self._noted(world, at, "asked")
        else:
            yield "ask unrecorded", self._to(world, at, "asked")

    def _noted(self, world: World, at: int, then: str) -> World:
        self._record(world, at, "CompleteAsked")
        hand = world.hands[at]
        if world.asked and not hand.looked:
            raise Broken(f"{at} records CompleteAsked a second time without a look")
        return _set(world._replace(asked=True), at, hand._replace(at=then, noted=True))

    def _search(self, world: World, at: int) -> Iterator[Step]:
        """``Run`` at ``Settle``: look for the File; ask again only if there is none."""
        hand = world.hands[at]
        if hand.at != "loaded" or not hand.believes:
            return
        if not self._has("look"):
            yield "ask again", self._to(world, at, "asked")
        elif world.made:
            yield "found", self._to(world, at, "sent")
        else:
            yield "look", _set(world, at, hand._replace(at="asked", looked=True))

    def _send(self, world: World, at: int) -> Iterator[Step]:
        """``POST /complete``: the server makes the File."""
        hand = world.hands[at]
        if hand.at != "asked":
            return
        if world.made and not (hand.looked or hand.noted):
            raise Broken(f"{at} asks for a second File without a look")
        yield "complete", self._to(world._replace(made=True), at, "sent")

    def _finish(self, world: World, at: int) -> Iterator[Step]:
        """``Journal.record(Completed)``."""
        if world.hands[at].at != "sent" or world.transaction is not None:
            return
        if self._process(world, at).failing:
            yield "record fails", self._to(world, at, "giving")
        elif self._fenced(world, at):
            yield "refused", self._to(world, at, "giving")
        else:
            self._record(world, at, "Completed")
            yield "record end", self._to(world._replace(done=True, asked=True), at, "giving")

    def _give(self, world: World, at: int) -> Iterator[Step]:
        """``UPDATE jobs SET owner = NULL WHERE owner = ?``, in ``Claim.__aexit__``."""
        if world.hands[at].at != "giving" or world.transaction is not None:
            return
        if self._process(world, at).failing:
            yield "abandon", self._abandon(_set(world, at, Hand()), at)
            return
        ours = world.row == self._id(world, at) or not self._has("only ours")
        after = world._replace(row=None if ours else world.row)
        if world.holder == at or ours:
            after = after._replace(holder=None if world.holder == at else world.holder)
        yield "release", _set(after, at, Hand())

    # --- what happens to them ------------------------------------------------------------------

    def _fates(self, world: World, place: int) -> Iterator[Step]:
        process, mine = world.processes[place], self._hands_of(place)
        if not process.up:
            fresh = Process(life=process.life + 1)
            yield f"restart process {place}", _put(world, place, fresh)
            return
        if self._can(world, "crash"):
            yield f"kill process {place}", self._killed(world, place)
        if self._can(world, "fail") and not process.failing:
            # After an error of the disk a journal writes nothing more: Scribe._broken.
            after = self._spend(world, "fail")
            yield f"disk fails process {place}", _put(after, place, process._replace(failing=True))
        known = process.locked and not self._has("child forgets")
        making = not self._has("fork waits") and any(world.hands[at].at == "made" for at in mine)
        if (known or making) and not process.copied and self._can(world, "fork"):
            after = self._spend(world, "fork")
            yield f"fork process {place}", _put(after, place, process._replace(copied=True))
        swept = process.linked and not process.locked and not self._has("sweep inside")
        if swept or (process.linked and self._can(world, "clean")):
            after = world if swept else self._spend(world, "clean")
            yield f"unlink file {place}", _put(after, place, process._replace(linked=False))

    def _killed(self, world: World, place: int) -> World:
        """The kernel lets go of the lock, SQLite of the transaction; rows and files stay."""
        process, mine = world.processes[place], self._hands_of(place)
        after = self._spend(world, "crash")
        if process.copied and process.linked:
            after = after._replace(kept=after.kept | {(place, process.life)})
        for at in mine:
            after = _set(after, at, Hand())
        if after.transaction in mine:
            after = after._replace(transaction=None)
        if after.holder in mine:
            after = after._replace(holder=None)
        return _put(after, place, Process(life=process.life, up=False))

    def _abandon(self, world: World, at: int) -> World:
        """``Owner.abandon``: with the last job that runs here the lock goes."""
        if world.holder == at:
            world = world._replace(holder=None)
        if not self._has("abandoned"):
            return world
        if any(hand.at in HOLDING for hand in self._siblings(world, at)):
            return world
        life = self._process(world, at).life + 1
        return _put(world, self._places[at], Process(life=life, failing=True))

    # --- promises ------------------------------------------------------------------------------

    def lives(self, world: World, owner: Id | None) -> bool:
        """``Owner.lives``."""
        if owner is None:
            return False
        place, life = owner
        process = world.processes[place]
        if not self._has("lock decides"):
            return process.up
        current = process.up and process.life == life
        return (current and process.linked and process.locked) or owner in world.kept

    def _record(self, world: World, at: int, fact: str) -> None:
        if world.holder != at:
            raise Broken(f"{at} records {fact}, and {world.holder} has the job")

    def judge(self, world: World) -> None:
        """A claim that lives belongs to somebody who will let go of it.

        Raises:
            Broken: Nobody will.
        """
        if world.row is None or not self.lives(world, world.row):
            return
        place, life = world.row
        process = world.processes[place]
        busy = any(world.hands[at].at != "idle" for at in self._hands_of(place))
        if not (process.up and process.life == life and busy):
            raise Broken(f"the claim of {world.row} is stuck: nobody runs it, nobody can have it")

    # --- words ---------------------------------------------------------------------------------

    def _has(self, guard: str) -> bool:
        return guard not in self._without

    def _fenced(self, world: World, at: int) -> bool:
        return self._has("fence") and world.row != self._id(world, at)

    def _can(self, world: World, kind: str) -> bool:
        return world.left[_KINDS.index(kind)] > 0

    def _spend(self, world: World, kind: str) -> World:
        left = list(world.left)
        left[_KINDS.index(kind)] -= 1
        return world._replace(left=tuple(left))

    def _process(self, world: World, at: int) -> Process:
        return world.processes[self._places[at]]

    def _id(self, world: World, at: int) -> Id:
        return self._places[at], self._process(world, at).life

    def _hands_of(self, place: int) -> list[int]:
        return [at for at, where in enumerate(self._places) if where == place]

    def _siblings(self, world: World, at: int) -> list[Hand]:
        return [world.hands[other] for other in self._hands_of(self._places[at]) if other != at]

    def _to(self, world: World, at: int, then: str) -> World:
        hand = Hand() if then == "idle" else world.hands[at]._replace(at=then)
        return _set(world, at, hand)

    def _out(self, world: World, at: int) -> World:
        """``ROLLBACK TO`` the savepoint: nothing was claimed."""
        mine = world.transaction == at
        return _set(world._replace(transaction=None if mine else world.transaction), at, Hand())

    def _change(self, world: World, at: int, **fields: bool) -> World:
        place = self._places[at]
        return _put(world, place, world.processes[place]._replace(**fields))


def _set(world: World, at: int, hand: Hand) -> World:
    return world._replace(hands=(*world.hands[:at], hand, *world.hands[at + 1 :]))


def _put(world: World, place: int, process: Process) -> World:
    changed = (*world.processes[:place], process, *world.processes[place + 1 :])
    return world._replace(processes=changed)


class Found(NamedTuple):
    """What an exploration came to: all ``worlds`` keep the promises, or one way breaks one."""

    worlds: int
    broken: str | None = None
    way: tuple[str, ...] = ()


def explore(rules: Claims, *, goal: Callable[[World], bool] | None = None) -> Found:
    """Every world that can be reached, nearest first.

    Args:
        rules: What can happen.
        goal: A world to look for instead; the way there is told as if it broke a promise.
    """
    first = rules.start()
    came: dict[World, tuple[str, World] | None] = {first: None}
    waiting = deque([first])

    def way(world: World) -> tuple[str, ...]:
        steps: list[str] = []
        while (before := came[world]) is not None:
            step, world = before
            steps.append(step)
        return tuple(reversed(steps))

    while waiting:
        world = waiting.popleft()
        try:
            rules.judge(world)
            for step, after in rules.steps(world):
                if after not in came:
                    came[after] = step, world
                    waiting.append(after)
        except Broken as broken:
            return Found(len(came), str(broken), way(world))
        if goal is not None and goal(world):
            return Found(len(came), "reached", way(world))
    return Found(len(came))
