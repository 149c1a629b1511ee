"""The STM family: STM-Training, STM by its authors, and Training-Code-of-STM, to our `Stm`.

All are the network of STM (Oh et al. 2019) with four layers of names in common; they differ in
what the second channel of the mask shows, and in the width of keys and values.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from vostool.errors import WeightsError
from vostool.model.published.kinds import KINDS
from vostool.model.published.layout import Layout, renamed, within
from vostool.model.published.reading import has_bottlenecks
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

Weights = dict[str, Tensor]
STAGES = {"layer1": "res2", "layer2": "res3", "layer3": "res4"}
DECODER_WIDTH = 256
BACKBONES = {  # by whether they have bottlenecks, and how many blocks res4 has
    (False, 2): "resnet18",
    (False, 6): "resnet34",
    (True, 6): "resnet50",
    (True, 23): "resnet101",
}
DECODER = {  # names of layers that begin so
    "fuse": "convFM",
    "block": "ResMM",
    "skip_eighth.0": "RF3.convFS",
    "skip_eighth.1": "RF3.ResFS",
    "skip_quarter.0": "RF2.convFS",
    "skip_quarter.1": "RF2.ResFS",
    "refine_eighth.block": "RF3.ResMM",
    "refine_quarter.block": "RF2.ResMM",
}


def convert_stm_cycle(layout: Layout) -> tuple[StmSettings, Weights]:
    """Return settings and weights of a file of STM-Training; raises WeightsError."""
    return convert(layout, "stm-cycle", "background", "conv1_bg")


def convert_stm_official(layout: Layout) -> tuple[StmSettings, Weights]:
    """Return the same of a file of STM or Training-Code-of-STM; raises WeightsError."""
    kind = "stm-official" if has_bottlenecks(layout.state) else "stm-training-code"
    return convert(layout, kind, "others", "conv1_o")


def convert(
    layout: Layout, kind: str, second_channel: Literal["background", "others"], second: str
) -> tuple[StmSettings, Weights]:
    """Return settings and weights; `second` is the convolution of the mask's second channel."""
    policy = KINDS[kind].policy
    settings = StmSettings(
        backbone=backbone_of(layout),  # type: ignore[arg-type]
        key_channels=layout.width("KV_M_r4.Key.weight"),
        value_channels=layout.width("KV_M_r4.Value.weight"),
        decoder_channels=(DECODER_WIDTH,) * 3,
        skip_blocks=True,
        second_mask_channel=second_channel,
        short_side=policy.short_side,
        correction_rate=policy.correction_rate,
        published=kind,
    )
    with torch.device("meta"):
        network = Stm(settings)
    weights = {
        **stem(layout, "query_stem", "Encoder_Q"),
        **within("query_body", layout.body(network.query_body, stages("Encoder_Q"))),
        **stem(layout, "memory_stem", "Encoder_M", ("conv1_m", second)),
        **within("memory_body", layout.body(network.memory_body, stages("Encoder_M"))),
    }
    for ours, theirs in (("query", "KV_Q_r4"), ("memory", "KV_M_r4")):
        for part in ("Key", "Value"):
            name = f"{ours}_{part.lower()}"
            layer = network.get_submodule(name)
            weights |= within(name, layout.layer(f"{theirs}.{part}", layer.weight))  # type: ignore[arg-type]
    weights |= decoder(layout, network.decoder)
    return settings, weights


def backbone_of(layout: Layout) -> str:
    """Return the encoders' network, by its blocks; raises WeightsError for an unknown one."""
    blocks = {name.split(".")[2] for name in layout.state if name.startswith("Encoder_Q.res4.")}
    form = has_bottlenecks(layout.state), len(blocks)
    if form not in BACKBONES:
        raise WeightsError(
            f"{layout.path}: Encoder_Q.res4: expected the blocks of ResNet-18, -34, -50 or -101, "
            f"found {len(blocks)}"
        )
    return BACKBONES[form]


def stages(encoder: str) -> dict[str, str]:
    """Return the makers' names of an encoder's stages."""
    return {ours: f"{encoder}.{theirs}" for ours, theirs in STAGES.items()}


def stem(layout: Layout, name: str, encoder: str, masks: tuple[str, ...] = ()) -> Weights:
    """Return the first convolution of an encoder, and those of its mask's channels, as one.

    Their sum goes through one batch norm, which is folded into each; its shift into the first.
    """
    norm = f"{encoder}.bn1"
    weight, bias = layout.folded(f"{encoder}.conv1", norm, (64, 3, 7, 7))
    channels = [layout.folded(f"{encoder}.{each}", norm, (64, 1, 7, 7))[0] for each in masks]
    found = {f"{name}.weight": weight, f"{name}.bias": bias}
    return found | ({"mask_stem.weight": torch.cat(channels, dim=1)} if channels else {})


def decoder(layout: Layout, module: nn.Module) -> Weights:
    """Return the decoder's weights, its two outputs as one: their difference is the log-odds."""
    head = layout.layer("Decoder.pred2", torch.empty(2, DECODER_WIDTH, 3, 3, device="meta"))
    rest = nn.ModuleDict({name: each for name, each in module.named_children() if name != "head"})
    weights = {
        **layout.layers(rest, renamed(DECODER, "Decoder.")),
        **{f"head.{part}": value[1:] - value[:1] for part, value in head.items()},
    }
    return within("decoder", weights)
