import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_three_killed_runs_lose_nothing_and_are_completed_by_the_same_command() -> None:
    arguments = ("-m", "tests.bench.kills", "--kills", "3", "--seed", "7")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills, seed 7: 0 lost, 0 unfinished, 0 repeated, 0 left behind" in done.stdout
