"""Checkpoints as the makers of published weights lay them out, of small random networks.

A network of ours is written under the makers' names, each batch norm taken out of the convolution
that it is folded into, so that reading the file is to give the network again.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vostool.model.published.stcn import Stcn, StcnSettings
from vostool.model.published.xmem import Xmem, XmemSettings
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

State = dict[str, Tensor]
STM = StmSettings(
    key_channels=8,
    value_channels=16,
    decoder_channels=(256, 256, 256),
    skip_blocks=True,
    second_mask_channel="others",
    short_side=480,
    published="stm-training-code",
)
STM_CYCLE = STM.model_copy(
    update={"second_mask_channel": "background", "short_side": 240, "published": "stm-cycle"}
)
STCN = StcnSettings(key_channels=8, value_channels=32)
XMEM = XmemSettings(key_channels=8, value_channels=32, hidden_channels=4)


def unfolded(
    state: Mapping[str, Tensor], name: str, conv: str, norm: str, *, biased: bool = False
) -> State:
    """Return a layer as a convolution and a batch norm behind it, by the makers' names."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    width = len(weight)
    scale, variance, mean = 0.5 + torch.rand(width), 0.5 + torch.rand(width), torch.randn(width)
    before = torch.randn(width) if biased else torch.zeros(width)
    factor = scale / (variance + 1e-5).sqrt()
    found = {
        f"{conv}.weight": weight / factor[:, None, None, None],
        f"{norm}.weight": scale,
        f"{norm}.bias": bias - (before - mean) * factor,
        f"{norm}.running_mean": mean,
        f"{norm}.running_var": variance,
        f"{norm}.num_batches_tracked": torch.tensor(7),
    }
    return found | ({f"{conv}.bias": before} if biased else {})


def body(
    state: Mapping[str, Tensor], prefix: str, stages: Mapping[str, str], *, biased: bool = False
) -> State:
    """Return the stages of an encoder by the makers' names."""
    found: State = {}
    for name in state:
        if name.startswith(prefix) and name.endswith(".weight"):
            ours = name.removesuffix(".weight")
            stage, rest = ours.removeprefix(prefix).split(".", 1)
            theirs = f"{stages[stage]}.{rest}"
            norm = theirs.replace("conv", "bn").replace("downsample.0", "downsample.1")
            found |= unfolded(state, ours, theirs, norm, biased=biased)
    return found


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> State:
    """Return weights and biases of layers by the makers' names."""
    return {
        f"{theirs}.{part}": state[f"{ours}.{part}"]
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }


def block(ours: str, theirs: str, *, shortcut: bool = False) -> dict[str, str]:
    """Return the names of the layers of a residual block."""
    layers = ("conv1", "conv2", *(("downsample",) if shortcut else ()))
    return {f"{ours}.{layer}": f"{theirs}.{layer}" for layer in layers}


def export_stm(network: Stm) -> State:
    """Return the weights of a network as STM-Training or STM name them."""
    state = {name: value.detach() for name, value in network.state_dict().items()}
    second = "conv1_o" if network.settings.second_mask_channel == "others" else "conv1_bg"
    found: State = {}
    for ours, theirs in (("query", "Encoder_Q"), ("memory", "Encoder_M")):
        stages = {f"layer{stage}": f"{theirs}.res{stage + 1}" for stage in (1, 2, 3)}
        found |= unfolded(state, f"{ours}_stem", f"{theirs}.conv1", f"{theirs}.bn1")
        found |= body(state, f"{ours}_body.", stages)
        found |= {f"{theirs}.mean": torch.zeros(1, 3, 1, 1), f"{theirs}.std": torch.ones(3)}
        kv = "KV_Q_r4" if ours == "query" else "KV_M_r4"
        found |= renamed(state, {f"{ours}_key": f"{kv}.Key", f"{ours}_value": f"{kv}.Value"})
    spread = (found["Encoder_M.bn1.running_var"] + 1e-5).sqrt() / found["Encoder_M.bn1.weight"]
    masks = state["mask_stem.weight"] * spread[:, None, None, None]
    found |= {"Encoder_M.conv1_m.weight": masks[:, :1], f"Encoder_M.{second}.weight": masks[:, 1:]}
    names = {"decoder.fuse": "Decoder.convFM", **block("decoder.block", "Decoder.ResMM")}
    for size, stage in (("eighth", "Decoder.RF3"), ("quarter", "Decoder.RF2")):
        names |= {f"decoder.skip_{size}.0": f"{stage}.convFS"}
        names |= block(f"decoder.skip_{size}.1", f"{stage}.ResFS")
        names |= block(f"decoder.refine_{size}.block", f"{stage}.ResMM")
    found |= renamed(state, names)
    for part in ("weight", "bias"):
        head = state[f"decoder.head.{part}"]
        absent = torch.randn_like(head)
        found[f"Decoder.pred2.{part}"] = torch.cat([absent, absent + head])
    return found


def attention(ours: str, theirs: str) -> dict[str, str]:
    """Return the names of the layers of a fusion."""
    return {
        **block(f"{ours}.block1", f"{theirs}.block1", shortcut=True),
        f"{ours}.attention.mlp.0": f"{theirs}.attention.ChannelGate.mlp.1",
        f"{ours}.attention.mlp.2": f"{theirs}.attention.ChannelGate.mlp.3",
        f"{ours}.attention.spatial": f"{theirs}.attention.SpatialGate.spatial.conv",
        **block(f"{ours}.block2", f"{theirs}.block2"),
    }


def export_stcn(network: Stcn | Xmem) -> State:
    """Return the weights of a network as STCN or XMem name them."""
    state = {name: value.detach() for name, value in network.state_dict().items()}
    recurrent = isinstance(network, Xmem)
    state["whole.weight"] = torch.cat(
        [state["value_encoder.stem.weight"], state["value_encoder.mask_stem.weight"]], dim=1
    )
    state["whole.bias"] = state["value_encoder.stem.bias"]
    values = {f"layer{stage}": f"value_encoder.layer{stage}" for stage in (1, 2, 3)}
    keys = {"layer1": "res2", "layer2": "layer2", "layer3": "layer3"}
    keys = {ours: f"key_encoder.{theirs}" for ours, theirs in keys.items()}
    names = {
        "key": "key_proj.key_proj",
        **attention("value_encoder.fuser", "value_encoder.fuser"),
        "upsampling.up_16_8.skip_conv": "decoder.up_16_8.skip_conv",
        **block("upsampling.up_16_8.out_conv", "decoder.up_16_8.out_conv", shortcut=True),
        "upsampling.up_8_4.skip_conv": "decoder.up_8_4.skip_conv",
        **block("upsampling.up_8_4.out_conv", "decoder.up_8_4.out_conv"),
        "upsampling.pred": "decoder.pred",
    }
    if recurrent:
        names |= {"shrinkage": "key_proj.d_proj", "selection": "key_proj.e_proj"}
        names |= attention("fuser", "decoder.fuser")
    else:
        names |= {"thin": "key_comp", **block("compress", "decoder.compress", shortcut=True)}
    if isinstance(network, Xmem) and network.settings.hidden_channels:
        update = "decoder.hidden_update"
        names |= {f"hidden_update.g{size}_conv": f"{update}.g{size}_conv" for size in (16, 8, 4)}
        names["hidden_update.recurrence.transform"] = f"{update}.transform"
        names["reinforce.transform"] = "value_encoder.hidden_reinforce.transform"
    return {
        **unfolded(state, "key_encoder.stem", "key_encoder.conv1", "key_encoder.bn1"),
        **body(state, "key_encoder.body.", keys),
        **unfolded(
            state, "whole", "value_encoder.conv1", "value_encoder.bn1", biased=not recurrent
        ),
        **body(state, "value_encoder.body.", values, biased=not recurrent),
        **renamed(state, names),
    }


def export(network: nn.Module) -> State:
    """Return the weights of a network as its makers name them."""
    if isinstance(network, Stm):
        return export_stm(network)
    assert isinstance(network, (Stcn, Xmem))
    return export_stcn(network)


def small(settings: StmSettings | StcnSettings | XmemSettings) -> Stm | Stcn | Xmem:
    """Return a network with random weights, the same ones each time."""
    torch.manual_seed(0)
    if isinstance(settings, StmSettings):
        return Stm(settings).eval()
    if isinstance(settings, StcnSettings):
        return Stcn(settings).eval()
    return Xmem(settings).eval()


def write(path: Path, state: Mapping[str, Tensor], **options: bool) -> Path:
    """Write weights as a flat checkpoint."""
    torch.save(dict(state), path, **options)
    return path
