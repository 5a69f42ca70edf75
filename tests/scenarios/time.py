"""Uploads that die, clocks that are wrong, and links that are too slow for a life."""

from scenarios.scenario import Mutation, Scenario

WIRE = "test_wire_time.py::"
NO_MORE = WIRE + "test_an_upload_that_is_no_more_is_replaced_and_none_of_its_parts_is_used"

SCENARIOS = (
    Scenario(
        what="an Upload that dies midway, between runs, or while it is completed",
        holds="a new one, said aloud, by the server's clock; nothing of the dead one is used",
        tests=("test_wire_time.py", "test_run.py"),
        mutations=(
            Mutation(
                takes_out="410 says that an Upload is gone as 404 does",
                module="link.py",
                was="        if isinstance(error, NotFound) or about is Complaint.ABSENT:\n",
                becomes="        if isinstance(error, NotFound):\n",
                test=NO_MORE + "[410-Gone-gone]",
            ),
            Mutation(
                takes_out="receipts die with their Upload",
                module="machine.py",
                was="            return State(state.span, generation=state.generation)\n"
                "        case CompleteAsked():",
                becomes="            return replace(state, phase=phase, upload=None)\n"
                "        case CompleteAsked():",
                test=NO_MORE + "[400-Upload has expired.-expired]",
            ),
            Mutation(
                takes_out="a key that may not list Files can still resume",
                module="link.py",
                was="        with suppress(Rejected, ServerTrouble):\n",
                becomes="        with suppress(ServerTrouble):\n",
                test=WIRE + "test_the_time_is_known_though_files_may_not_be_listed[403]",
            ),
            Mutation(
                takes_out="an Upload that died while the file was read is not asked to complete",
                module="run.py",
                was="asyncio.timeout(None if dies is None else dies - now())",
                becomes="asyncio.timeout(None)",
                test=WIRE + "test_an_upload_that_dies_under_the_pass_is_not_asked_to_complete",
            ),
        ),
    ),
    Scenario(
        what="one Upload after another lost",
        holds="three at most in one command, then `too-slow`, or what else it was; resumable",
        tests=("test_wire_time.py",),
        mutations=(
            Mutation(
                takes_out="a command opens three Uploads for a job and no more",
                module="run.py",
                was="        if self._created < self._shop.options.generations:\n",
                becomes="        if self._created < self._shop.options.generations + 2:\n",
                test=WIRE + "test_uploads_that_are_lost_otherwise_are_not_called_slow",
            ),
            Mutation(
                takes_out="only Uploads that expired say something about the link",
                module="run.py",
                was='        if self._lost[-1] == "expired":\n',
                becomes="        if self._lost:\n",
                test=WIRE + "test_uploads_that_are_lost_otherwise_are_not_called_slow",
            ),
        ),
    ),
    Scenario(
        what="a link or a disk too slow for the life of one Upload",
        holds="said within a minute; `too-slow` after the first Upload, with what would help",
        tests=("test_wire_time.py", "test_planner.py", "test_proof.py"),
        mutations=(
            Mutation(
                takes_out="a new Upload begins only where it can be finished",
                module="run.py",
                was="            in_time(size, life,",
                becomes="            in_time(size, life * 100,",
                test=WIRE + "test_a_link_that_cannot_make_one_life_is_too_slow_at_once",
            ),
            Mutation(
                takes_out="a moment is no measurement",
                module="run.py",
                was="measured >= min(_MEASURED, life / 2)",
                becomes="measured >= 0",
                test=WIRE + "test_an_upload_lost_at_once_proves_no_link_too_slow",
            ),
            Mutation(
                takes_out="reading for the MD5 counts against the Upload's life",
                module="gauge.py",
                was="        if behind := self._behind():\n",
                becomes="        if behind := 0.0:\n",
                test=WIRE + "test_a_pass_slower_than_the_link_is_foreseen",
            ),
            Mutation(
                takes_out="time in which the reading waits is no slowness of its own",
                module="reading.py",
                was="time.monotonic() - self.busy\n",
                becomes="self._born\n",
                test="test_proof.py::test_the_time_that_the_pass_needs_still_is_known_once_it_has_"
                "read_for_a_while",
            ),
        ),
    ),
    Scenario(
        what="a clock that is wrong by hours, ours or a gateway's; no `Date`; absurd `expires_at`",
        holds="an Upload ends when its server says so, never because of a clock",
        tests=("test_wire_time.py", "test_clock.py", "test_run.py"),
        mutations=(
            Mutation(
                takes_out="an Upload's own moments outweigh a stamp that is wrong",
                module="clock.py",
                was="                self._birth = birth - now\n",
                becomes="                pass\n",
                test=WIRE + "test_the_uploads_own_moments_outweigh_stamps_that_are_wrong_or_missing"
                "[None-5]",
            ),
            Mutation(
                takes_out="an Upload that ended before it began has no end",
                module="clock.py",
                was="        sane = 0 < end - self.at(now, wall) <= _LONGEST\n",
                becomes="        sane = True\n",
                test=WIRE + "test_moments_that_cannot_be_end_no_upload",
            ),
            Mutation(
                takes_out="a birth that agrees with the stamp leaves the clock as it is",
                module="clock.py",
                was=" or abs(birth - self.at(now, wall)) > _SLACK",
                becomes=" or birth",
                test="test_clock.py::test_a_stamp_that_agrees_goes_on_telling_the_time",
            ),
        ),
    ),
)
