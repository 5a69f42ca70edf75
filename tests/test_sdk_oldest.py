"""The same promises with the SDK as others have it: the oldest, and the last before httpx2.

1.55.3 (2024-11) is the first that works with httpx 0.28, which is what an installation of today
brings along; the SDK has Uploads since 1.40. Each is installed into a folder that goes before this
environment's own, and what the other files test is run with it in a process of its own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from counterparts import installed_by_pip

HERE = Path(__file__).parent


@pytest.mark.timeout(360)  # an installation, and what two files take under load
@pytest.mark.parametrize("version", ["1.55.3", "2.54.0"])
def test_clients_of_older_releases_sign_as_the_newest_do(version: str, tmp_path: Path) -> None:
    folder = installed_by_pip(f"openai-{version}", f"openai=={version}")
    (packages,) = folder.glob("lib/python*/site-packages")
    found = subprocess.run(
        [sys.executable, "-c", "import openai, httpx; print(openai.__version__)"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == version
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "--no-header", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", f"--basetemp={tmp_path / 'base'}"),
            *(str(HERE / "test_sdk.py"), str(HERE / "test_luggage.py")),
        ],
        env={
            **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
            "PYTHONPATH": str(packages),
        },
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 90
