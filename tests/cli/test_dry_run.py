"""`vostool segment --dry-run` on the command line."""

import json
from pathlib import Path

from tests.conftest import Footage
from tests.test_cli import Call, segment, vostool
from vostool.errors import WarningsError

__all__ = ["segment", "vostool"]  # fixtures


def test_a_dry_run_with_warnings_exits_as_the_run_would_with_fail_on_warning(
    segment: Call, video: Footage
) -> None:
    line = (video.path, "-m", f"5:{video.mask}", "--dry-run", "--json")
    plain, strict = segment(*line), segment(*line, "--fail-on-warning")
    assert (plain.code, strict.code) == (0, WarningsError.exit_code)
    for outcome in (plain, strict):
        assert [each["code"] for each in json.loads(outcome.out)["warnings"]] == [
            "frames_before_mask"
        ]
    assert list(Path().iterdir()) == []
