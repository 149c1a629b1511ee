import copy
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from vostool.model.encoders import ResNetBody, fold_batch_norm, resnet
from vostool.model.resnet import BACKBONES, ResNet


def with_statistics(backbone: str) -> torchvision.models.ResNet:
    """Return a ResNet whose batch norms do something."""
    torch.manual_seed(1)
    network = torchvision.models.get_model(backbone, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.3 * torch.randn(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def original(request: pytest.FixtureRequest) -> torchvision.models.ResNet:
    return with_statistics(request.param)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_folding_batch_norm_leaves_the_network_s_answer_alone(
    original: torchvision.models.ResNet, images: torch.Tensor
) -> None:
    folded = copy.deepcopy(original).double()
    fold_batch_norm(folded)
    with torch.no_grad():
        expected = copy.deepcopy(original).double()(images.double())
        torch.testing.assert_close(folded(images.double()), expected)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_folded_weights_can_all_be_trained(original: torchvision.models.ResNet) -> None:
    folded = copy.deepcopy(original)
    fold_batch_norm(folded)
    frozen = [name for name, weight in folded.named_parameters() if not weight.requires_grad]
    assert frozen == []


def test_weights_given_are_taken_up_even_without_the_last_stage(
    original: torchvision.models.ResNet, images: torch.Tensor
) -> None:
    backbone = "resnet50" if hasattr(original.layer1[0], "conv3") else "resnet18"
    state = {
        name: value
        for name, value in original.state_dict().items()
        if not name.startswith(("layer4", "fc"))
    }
    network = resnet(backbone, state=state)
    with torch.no_grad():
        pyramid = ResNetBody(network).pyramid(network.conv1(images))
        x = original.maxpool(original.relu(original.bn1(original.conv1(images))))
        quarter = original.layer1(x)
        eighth = original.layer2(quarter)
        sixteenth = original.layer3(eighth)
    half = original.bn1(original.conv1(images)).detach()
    for got, expected in zip(pyramid, (half, quarter, eighth, sixteenth), strict=True):
        assert (got - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [("resnet18", (64, 64, 128, 256)), ("resnet50", (64, 256, 512, 1024))],
)
def test_the_pyramid_is_at_a_half_a_quarter_an_eighth_and_a_sixteenth(
    backbone: str, channels: tuple[int, ...], images: torch.Tensor
) -> None:
    network = resnet(backbone)
    with torch.no_grad():
        pyramid = ResNetBody(network).pyramid(network.conv1(images))
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [tuple(x.shape) for x in pyramid] == [
        (2, depth, *size) for depth, size in zip(channels, sizes, strict=True)
    ]


@pytest.mark.parametrize("in_1x1", [False, True])
def test_strides_lie_where_asked(in_1x1: bool, images: torch.Tensor) -> None:
    network = resnet("resnet50", stride_in_1x1=in_1x1)
    seen: dict[str, tuple[int, int]] = {}
    for stage in ("layer2", "layer3"):
        for name in ("conv1", "conv2"):
            getattr(network, stage)[0].get_submodule(name).register_forward_hook(
                lambda module, given, made, key=f"{stage}.{name}": seen.update(
                    {key: (given[0].shape[3], made.shape[3])}
                )
            )
    with torch.no_grad():
        ResNetBody(network).pyramid(network.conv1(images))
    halving = {key for key, (wide, narrow) in seen.items() if narrow * 2 == wide}
    first = "conv1" if in_1x1 else "conv2"
    assert halving == {f"layer2.{first}", f"layer3.{first}"}


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_network_without_values_is_folded_into_the_same_layers(backbone: str) -> None:
    with torch.device("meta"):
        empty = resnet(backbone).state_dict()
    expected = resnet(backbone).state_dict()
    assert {name: value.shape for name, value in empty.items()} == {
        name: value.shape for name, value in expected.items()
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_the_weights_of_torchvision_s_by_name_and_shape(backbone: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(backbone, weights=None).state_dict()
        ours = ResNet(backbone).state_dict()
    used = {name for name in theirs if not name.startswith(("layer4", "fc"))}
    assert ours.keys() == used
    assert all(ours[name].shape == theirs[name].shape for name in ours)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_computes_what_torchvision_s_does(
    backbone: str, images: torch.Tensor
) -> None:
    theirs, ours = with_statistics(backbone), ResNet(backbone).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        y = theirs.maxpool(ours.bn1(ours.conv1(images)).relu())
        for name in ("layer1", "layer2", "layer3"):
            x, y = getattr(theirs, name)(x), getattr(ours, name)(y)
            assert torch.equal(x, y), name


def test_new_convolutions_are_drawn_as_torchvision_draws_them() -> None:
    theirs, ours = (
        dict(network.named_parameters())
        for network in (torchvision.models.get_model("resnet18", weights=None), ResNet("resnet18"))
    )
    for name, weight in ours.items():
        torch.testing.assert_close(
            weight.std(correction=0), theirs[name].std(correction=0), rtol=0.1, atol=1e-6, msg=name
        )


def test_a_network_is_built_and_run_without_importing_torchvision_or_the_compiler() -> None:
    code = (
        "import sys, torch, vostool, vostool.segment.run\n"
        "from vostool.model.stm import Stm\n"
        "from vostool.model.stm_settings import StmSettings\n"
        "with torch.device('meta'): Stm(StmSettings(output_stride=2, location_cue=True))\n"
        "network = Stm(StmSettings(short_side=32)).eval()\n"
        "with torch.no_grad(): network.encode(torch.zeros(1, 3, 32, 32))\n"
        "print([name for name in ('torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
