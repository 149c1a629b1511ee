import copy

import pytest
import torch
import torchvision
from torch import nn

from vostool.model.encoders import ResNetBody, fold_batch_norm, resnet


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
