"""Write weights of an Stm with another backbone, which begin near the masks of the first.

    python weights/change_backbone.py OUT.safetensors IN.safetensors --backbone resnet50
        --encoder ENCODER.safetensors --pictures FOLDER [--stride-in-1x1]

Only the layers between the query encoder and the rest depend on the backbone. Each of them, a 3x3
or 1x1 convolution of the new encoder's features, is fitted by ridge regression to what the layer in
its place gives on the same pictures; all other layers are copied. Training goes on from there,
instead of from ImageNet.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from vostool.media.image import read_image
from vostool.model.checkpoint import load_checkpoint, read_header, save_checkpoint
from vostool.model.encoders import Pyramid, normalize
from vostool.model.resnet import BACKBONES
from vostool.model.stm import Stm
from vostool.preprocess import resized_frame, unit_range, working_size

RIDGE = 1e-3  # relative to the mean variance of the features
LAYERS = {  # and the features that they work on
    "query_key": "sixteenth",
    "query_value": "sixteenth",
    "memory_stem": "sixteenth",
    "decoder.skip_eighth": "eighth",
    "decoder.skip_quarter": "quarter",
    "decoder.skip_half": "half",
}


def main() -> None:
    """Fit, copy and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--backbone", choices=BACKBONES, required=True)
    parser.add_argument("--stride-in-1x1", action="store_true")
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder searched for .jpg")
    parser.add_argument("--count", type=int, default=1000, help="of pictures, evenly spread")
    parser.add_argument("--positions", type=int, default=64, help="of each that are fitted")
    given = parser.parse_args()
    paths = sorted(given.pictures.rglob("*.jpg"))
    if not paths or min(given.count, given.positions) < 1:
        parser.error(f"--pictures {given.pictures}: no .jpg, or none of its positions, to fit to")
    if not given.encoder.is_file():
        parser.error(f"--encoder {given.encoder}: no such file")
    old = load_checkpoint(given.weights)
    if not isinstance(old, Stm) or old.settings.values != "shared" or old.settings.skip_blocks:
        parser.error("expected weights of an Stm with shared values and without skip_blocks")
    changes = {"backbone": given.backbone, "stride_in_1x1": given.stride_in_1x1}
    new = Stm(old.settings.model_copy(update=changes), load_file(given.encoder))
    torch.manual_seed(0)  # of the positions that are drawn
    copy_layers(old, new)
    count = min(given.count, len(paths))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    fit_layers(old, new, pictures(chosen, old.settings.short_side), given.positions)
    card = {"backbone_changed_of": read_header(given.weights).get("card"), **changes}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(given.out, new, card)


def copy_layers(old: Stm, new: Stm) -> None:
    """Copy all but the query encoder and what is to be fitted."""
    state, apart = new.state_dict(), ("query_stem.", "query_body.", *(f"{n}." for n in LAYERS))
    for name, weight in old.state_dict().items():
        if not name.startswith(apart):
            state[name].copy_(weight)


def pictures(paths: list[Path], short_side: int) -> Iterator[Tensor]:
    """Yield images (1, 3, H, W) in [0, 1] of the size that the network works at."""
    for path in paths:
        rgb = read_image(path)
        height, width = rgb.shape[:2]
        size = working_size(height, width, short_side, Stm.stride)
        yield unit_range(resized_frame(rgb, size, torch.device("cpu")))


@torch.no_grad()
def fit_layers(old: Stm, new: Stm, images: Iterator[Tensor], positions: int) -> None:
    """Fit every layer of LAYERS, by which `new` works on its own encoder's features."""
    wanted, made = convolutions(old), convolutions(new)
    inputs: dict[str, list[Tensor]] = {name: [] for name in made}
    outputs: dict[str, list[Tensor]] = {name: [] for name in made}
    for image in images:
        theirs, ours = features(old, image), features(new, image)
        for name, layer in made.items():
            answer = wanted[name](getattr(theirs, LAYERS[name])).flatten(2)[0]
            side = layer.kernel_size[0]
            seen = functional.unfold(getattr(ours, LAYERS[name]), (side, side), padding=side // 2)
            chosen = torch.randperm(answer.shape[1])[:positions]
            inputs[name].append(seen[0, :, chosen].T)
            outputs[name].append(answer[:, chosen].T)
    for name, layer in made.items():
        left = fit(layer, torch.cat(inputs.pop(name)), torch.cat(outputs.pop(name)))
        print(f"{name}: {100 - 100 * left:.1f} % of the variance fitted, at the positions drawn")


def convolutions(network: Stm) -> dict[str, nn.Conv2d]:
    """Return those of LAYERS that a network has."""
    modules = network.named_modules()
    return {n: each for n, each in modules if n in LAYERS and isinstance(each, nn.Conv2d)}


def features(network: Stm, image: Tensor) -> Pyramid:
    """Return the query encoder's features of an image (1, 3, H, W)."""
    return network.query_body.pyramid(network.query_stem(normalize(image, torch.float32)))


def fit(layer: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> float:
    """Set a convolution to the ridge regression of outputs (n, D) on its inputs (n, C k k).

    Both are changed. Returns the share of the outputs' variance that is left.
    """
    mean, wanted = inputs.mean(dim=0), outputs.mean(dim=0)
    x, y = inputs.sub_(mean), outputs.sub_(wanted)  # in place: of ResNet-50 they are gigabytes
    square = (x.T @ x).double()
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    weight = torch.cholesky_solve((x.T @ y).double(), torch.linalg.cholesky(square))
    weight = weight.float()  # (C k k, D)
    layer.weight.copy_(weight.T.reshape(layer.weight.shape))
    layer.bias = nn.Parameter(wanted - mean @ weight)
    return float((y - x @ weight).square().sum() / y.square().sum())


if __name__ == "__main__":
    main()
