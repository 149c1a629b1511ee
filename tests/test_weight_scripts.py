"""The scripts beside the weights that make weights from others."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINY
from vostool.media.image import read_image
from vostool.model.checkpoint import load_checkpoint, save_checkpoint
from vostool.model.resnet import ResNet
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

FOLDER = Path(__file__).parents[1] / "weights"
SHARED = TINY.model_copy(update={"keys": "shared", "values": "shared", "similarity": "l2"})
Script = Callable[..., Stm]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run a script and load what it writes."""

    def script(name: str, *arguments: str | Path) -> Stm:
        out = tmp_path / "made" / "out.safetensors"
        monkeypatch.setattr(sys, "argv", [name, str(out), *map(str, arguments)])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        network = load_checkpoint(out)
        assert isinstance(network, Stm)
        return network

    return script


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, Stm], Path]:
    def write(name: str, network: Stm) -> Path:
        save_checkpoint(tmp_path / name, network, {})
        return tmp_path / name

    return write


def image(height: int = 64, width: int = 80) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_calibrate_scales_the_logits_of_the_attention(
    run: Script, save: Callable[[str, Stm], Path]
) -> None:
    old = Stm(SHARED).eval()
    new = run("calibrate.py", save("a", old), "--attention", "0.25", "--set", "annotated_weight=2")
    assert new.settings.annotated_weight == 2
    before, after = old.encode(image()), new.encode(image())
    # distances grow with the square of the keys, and the logits of l2 with the distances
    torch.testing.assert_close(after.key, before.key * 0.5, atol=0.02, rtol=0.02)
    torch.testing.assert_close(after.value, before.value, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("settings", "factor", "words"),
    [(TINY, "0.5", "makes the keys"), (SHARED, "0", "above 0"), (SHARED, "nan", "above 0")],
)
def test_calibrate_refuses(
    settings: StmSettings,
    factor: str,
    words: str,
    run: Script,
    save: Callable[[str, Stm], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("calibrate.py", save("a", Stm(settings)), f"--attention={factor}")
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_mean_counts_added_layers_as_zero_and_takes_named_ones_from_the_first(
    run: Script, save: Callable[[str, Stm], Path]
) -> None:
    finer = Stm(SHARED.model_copy(update={"output_stride": 2}))
    for weight in finer.decoder.head_half.parameters():
        torch.nn.init.normal_(weight)
    plain = Stm(SHARED)
    paths = save("a", finer), save("b", plain)
    mean = run("mean.py", *paths, "--first", "decoder.skip_half").state_dict()
    first, second = (load_checkpoint(path).state_dict() for path in paths)  # as rounded in files
    for name, weight in mean.items():
        other = second.get(name, torch.zeros_like(weight))
        apart = name.startswith("decoder.skip_half")
        expected = first[name] if apart else (first[name] + other) / 2
        torch.testing.assert_close(weight, expected, atol=1e-3, rtol=2e-3)


def test_mean_refuses_other_networks(
    run: Script, save: Callable[[str, Stm], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wider = Stm(SHARED.model_copy(update={"key_channels": 16}))
    with pytest.raises(SystemExit) as stopped:
        run("mean.py", save("a", Stm(SHARED)), save("b", wider))
    assert stopped.value.code == 2
    assert "different settings" in capsys.readouterr().err


@torch.no_grad()
def test_another_backbone_begins_with_the_features_of_the_first(
    tmp_path: Path, run: Script, save: Callable[[str, Stm], Path]
) -> None:
    old = Stm(SHARED.model_copy(update={"output_stride": 2})).eval()
    random = np.random.default_rng(5)
    coarse = random.integers(0, 255, (10, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "0.jpg"), cv2.resize(coarse, (288, 240)))
    save_file(ResNet("resnet34").state_dict(), tmp_path / "encoder.safetensors")
    path = save("a", old)
    encoder = ("--backbone", "resnet34", "--encoder", tmp_path / "encoder.safetensors")
    every = ("--pictures", tmp_path, "--positions", "100000")
    new = run("change_backbone.py", path, *encoder, *every)
    assert new.settings == old.settings.model_copy(update={"backbone": "resnet34"})
    kept = ("decoder.fuse.", "decoder.refine_", "decoder.head", "memory_", "mask_stem.")
    stored = load_checkpoint(path).state_dict()
    for name, weight in new.state_dict().items():
        if name.startswith(kept) and not name.startswith("memory_stem."):
            torch.testing.assert_close(weight, stored[name])
    seen = torch.from_numpy(read_image(tmp_path / "0.jpg")).permute(2, 0, 1)[None] / 255
    before, after = old.encode(seen), new.encode(seen)
    wanted = (before.key, before.value, before.scene, *before.skips)
    found = (after.key, after.value, after.scene, *after.skips)
    for theirs, ours in zip(wanted, found, strict=True):
        middle = theirs.mean(dim=(0, 2, 3), keepdim=True)  # what a bias alone would give
        assert (ours - theirs).square().mean() < 0.3 * (theirs - middle).square().mean()


@torch.no_grad()
def test_the_fit_finds_a_convolution() -> None:
    fit = runpy.run_path(str(FOLDER / "change_backbone.py"))["fit"]
    layer, wanted = (torch.nn.Conv2d(3, 5, 3, padding=1) for _ in range(2))
    x = torch.randn(1, 3, 40, 40)
    inputs = torch.nn.functional.unfold(x, 3, padding=1)[0].T.clone()
    left = fit(layer, inputs, wanted(x).flatten(2)[0].T.clone())
    assert left < 1e-4
    torch.testing.assert_close(layer.weight, wanted.weight, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(layer.bias, wanted.bias, atol=1e-3, rtol=1e-2)


def test_a_backbone_is_not_changed_where_the_memory_encoder_has_one_of_its_own(
    tmp_path: Path,
    run: Script,
    save: Callable[[str, Stm], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "any.jpg"
    picture.touch()
    encoder = ("--backbone", "resnet34", "--encoder", picture, "--pictures", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run("change_backbone.py", save("a", Stm(TINY)), *encoder)
    assert stopped.value.code == 2
    assert "shared values" in capsys.readouterr().err
