import json
from pathlib import Path
from typing import Any

import pytest

from vostool.segment.report import REPORT, RunReport, read_report

# as 0.1.0 wrote it
OLD: dict[str, Any] = {
    "schema_version": 1,
    "versions": {"vostool": "0.1.0", "python": "3.11.7", "torch": "2.14.1+cu130", "av": "18.1.0"},
    "network": {
        "model": "stm",
        "file": "weights/stm-r18.safetensors",
        "sha256": "4eb689a929bf81f92291b4c03187b9d61daa7a0ea540173e2a2b1ca763d9f687",
        "settings": {
            "backbone": "resnet18",
            "stride_in_1x1": False,
            "key_channels": 64,
            "value_channels": 256,
            "decoder_channels": [128, 96, 64],
            "keys": "shared",
            "values": "shared",
            "similarity": "l2",
            "memory": "kmn",
            "top_k": 0,
            "kernel_sigma": 3.5,
            "kernel_temperature": 0.1,
            "short_side": 320,
            "correction_rate": 60.0,
        },
    },
    "options": {
        "video": "out/demo.mp4",
        "masks": ["out/demo-mask.png"],
        "output": "out",
        "overlay": True,
        "save_masks": True,
        "cutouts": False,
        "start": 0,
        "end": None,
        "overwrite": False,
        "device": "cpu",
        "precision": "float32",
        "size": 64,
        "references": {"annotated": True, "previous": True, "every": 5},
        "memory_frames": 8,
        "objects_at_once": 8,
        "correction": None,
    },
    "input": {
        "path": "out/demo.mp4",
        "width": 640,
        "height": 360,
        "frames": 75,
        "rate": "25",
        "seconds": 3.0,
        "rotation": 0,
        "codec": "h264",
        "pixel_format": "yuv420p",
        "pixel_aspect": "1",
        "has_audio": False,
    },
    "objects": [1, 2],
    "frames": 75,
    "seconds": {"network": 3.941, "total": 4.274},
    "fps": {"network": 19.03, "end_to_end": 17.55},
    "masks": "out/masks",
    "overlay": "out/overlay.mp4",
    "cutouts": None,
    "limits": {"size": 64, "objects_at_once": 8, "memory_frames": 8, "lowered": []},
    "status": "done",
    "error": None,
    "warnings": ["the video ended before frame 99, which has a mask"],
}


def test_the_report_of_a_run_of_0_1_0_is_read(tmp_path: Path) -> None:
    (tmp_path / REPORT).write_text(json.dumps(OLD))
    report = read_report(tmp_path)
    assert report is not None
    (warning,) = report.warnings
    assert (warning.code, warning.message) == ("", OLD["warnings"][0])
    assert report.outputs == {"masks": "out/masks", "overlay": "out/overlay.mp4", "cutouts": None}
    assert report.model_dump(exclude_unset=True, exclude={"warnings"}) == {
        key: value for key, value in OLD.items() if key != "warnings"
    }


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = RunReport.model_validate({**OLD, "schema_version": 2, "frame_names": ["a", "b"]})
    (tmp_path / REPORT).write_text(report.model_dump_json())
    assert read_report(tmp_path) == report


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff", b"[" * 10**5])
def test_what_is_no_report_is_none(tmp_path: Path, content: bytes) -> None:
    assert read_report(tmp_path) is None
    (tmp_path / REPORT).write_bytes(content)
    assert read_report(tmp_path) is None


@pytest.mark.parametrize(
    "damage",
    [{"frames": -1}, {"status": "lost"}, {"warnings": 3}, {"masks": 5}, {"seconds": None}],
    ids=str,
)
def test_a_report_with_a_wrong_value_is_none(tmp_path: Path, damage: dict[str, Any]) -> None:
    (tmp_path / REPORT).write_text(json.dumps({**OLD, **damage}))
    assert read_report(tmp_path) is None
