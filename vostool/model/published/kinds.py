"""The kinds of published weights: the one table of them. Must not import torch.

Licences and scores are those that the makers state on their pages; of the weights themselves most
state none apart from that of the code.
"""

from dataclasses import dataclass

from vostool.model.policy import Policy

# as many frames as the longest clip of DAVIS fills: the makers keep all, and score on DAVIS
ENOUGH_FRAMES = 24


@dataclass(frozen=True)
class Kind:
    """A kind of published weights."""

    title: str
    page: str  # where their makers offer them
    files: str
    parameters: str
    scores: str  # as published, J&F on the validation sets of DAVIS
    licence: str
    converter: str  # module:function, from a `Layout` to settings and weights
    policy: Policy


KINDS: dict[str, Kind] = {
    "stm-cycle": Kind(
        title="STM-Training: the papers' own release, trained with the cycle",
        page="https://github.com/lyxok1/STM-Training",
        files="ResNet-18, ResNet-50 (Google Drive, section Release)",
        parameters="17 M (ResNet-18), 39 M (ResNet-50)",
        scores="DAVIS-2017 with correction: 68.1 (ResNet-18), 73.4 (ResNet-50)",
        licence="GPL-3.0 (of the code; none is stated for the weights)",
        converter="vostool.model.published.stm:convert_stm_cycle",
        policy=Policy(
            short_side=240,
            border="none",
            box=(240, 427),
            memory_frames=ENOUGH_FRAMES,
            precision="fp32",
        ),
    ),
    "stm-official": Kind(
        title="STM, by its authors; ResNet-50 and -101 of Training-Code-of-STM look the same",
        page="https://github.com/seoungwugoh/STM",
        files="STM_weights.pth (Dropbox)",
        parameters="39 M",
        scores="DAVIS-2016: 89.3 (Training-Code-of-STM on DAVIS-2017: 81.8, 82.0)",
        licence="CC BY-NC-SA 4.0: not for commercial use (of Training-Code-of-STM: GPL-3.0)",
        converter="vostool.model.published.stm:convert_stm_official",
        policy=Policy(
            short_side=480, border="black", memory_frames=ENOUGH_FRAMES, precision="fp32"
        ),
    ),
    "stm-training-code": Kind(
        title="Training-Code-of-STM with ResNet-18 or -34",
        page="https://github.com/haochenheheda/Training-Code-of-STM",
        files="ResNet-18 (Google Drive)",
        parameters="13 M",
        scores="not stated here",
        licence="GPL-3.0 (of the code; none is stated for the weights)",
        converter="vostool.model.published.stm:convert_stm_official",
        policy=Policy(
            short_side=480,
            border="black",
            memory_every=8,  # as its makers score it
            memory_frames=ENOUGH_FRAMES,
            precision="fp32",
        ),
    ),
    "stcn": Kind(
        title="STCN",
        page="https://github.com/hkchengrex/STCN",
        files="stcn.pth (Google Drive, OneDrive), its stages s0 and s01 (GitHub release 1.0)",
        parameters="54 M",
        scores="DAVIS-2016: 91.7, DAVIS-2017: 85.3 (s012)",
        licence="MIT (of the code; trained on data for non-commercial use)",
        converter="vostool.model.published.stcn:convert_stcn",
        policy=Policy(
            short_side=480,
            border="mean",
            reference="kept",
            memory_frames=ENOUGH_FRAMES,
            precision="fp32",
        ),
    ),
    "xmem": Kind(
        title="XMem",
        page="https://github.com/hkchengrex/XMem",
        files="XMem.pth, XMem-s012.pth, XMem-s2.pth, XMem-no-sensory (GitHub release v1.0)",
        parameters="62 M",
        scores="DAVIS-2016: 91.5, DAVIS-2017: 86.2; s012: 92.0, 87.7",
        licence="MIT (of the code; trained on data for non-commercial use)",
        converter="vostool.model.published.xmem:convert_xmem",
        policy=Policy(short_side=480, border="mean", memory_frames=10),
    ),
}


def known_kind(name: str) -> str:
    """Return the name of a kind as it is; raises ValueError, which lists them, for another."""
    if name not in KINDS:
        *others, last = map(repr, KINDS)
        raise ValueError(f"expected {', '.join(others)} or {last}")
    return name


def policy_of(kind: str | None) -> Policy:
    """Return how weights of a kind, or vostool's own, are best used."""
    return Policy() if kind is None else KINDS[kind].policy


def licence_of(kind: str | None) -> str | None:
    """Return the licence of weights of a kind, as far as the makers state one."""
    return None if kind is None else KINDS[kind].licence
