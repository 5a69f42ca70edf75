"""Days on which everything goes wrong, in a row, until the time is over."""

import os
import random
from pathlib import Path

import pytest
from chaos import Tally, run_day, spend

# Steps of the days, one after another: some journals grow old, most do not.
STEPS = (12, 25, 8, 60)


@pytest.mark.timeout(600)
def test_a_minute_of_bad_days(tmp_path: Path) -> None:
    day = os.environ.get("CHUNKUP_CHAOS_DAY")
    tally = Tally()
    if day is not None:
        run_day(tmp_path / "day", day, tally, STEPS[int(day.partition("/")[2]) % len(STEPS)])
        return
    seed = f"{random.randrange(1 << 32)}"
    print(f"seed {seed}")
    spend(tmp_path, seed, 60, tally, STEPS)
    print(tally)


@pytest.mark.long
@pytest.mark.skipif(
    "CHUNKUP_CHAOS_SECONDS" not in os.environ,
    reason="takes as long as CHUNKUP_CHAOS_SECONDS says, such as 3600",
)
@pytest.mark.timeout(0)
def test_bad_days_for_as_long_as_one_likes(tmp_path: Path) -> None:
    seed = os.environ.get("CHUNKUP_CHAOS_SEED") or f"{random.randrange(1 << 32)}"
    print(f"seed {seed}")
    tally = Tally()
    try:
        spend(tmp_path, seed, float(os.environ["CHUNKUP_CHAOS_SECONDS"]), tally, STEPS)
    finally:
        print(tally)
