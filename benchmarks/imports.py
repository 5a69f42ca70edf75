"""How long until `chunkup --help` answers, and until `import chunkup` is done?

    python benchmarks/imports.py

Medians of 11 runs each, against a bare interpreter, in milliseconds.
"""

import statistics
import subprocess
import sys
import time

RUNS = 11
CASES = {
    "bare interpreter": ["-c", "pass"],
    "import chunkup": ["-c", "import chunkup"],
    "chunkup --help": ["-m", "chunkup", "--help"],
    "import and touch AsyncUploader": ["-c", "import chunkup; chunkup.AsyncUploader"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):  # in turn, so that a drifting machine touches all alike
        for name, arguments in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - began) * 1000)
    bare = statistics.median(times["bare interpreter"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:32} {median:7.0f} ms  {median - bare:+7.0f} ms")


if __name__ == "__main__":
    main()
