"""ResNets from conv1 to layer3 (He et al. 2016), with torchvision's names of the weights.

Written here because `import torchvision` brings PyTorch's compiler along, which takes as long as
PyTorch itself; of its networks only these layers are needed.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, width, H / stride, W / stride)."""
        y = relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return relu(y, inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1, and a shortcut (ResNet-50 and -101)."""

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 4 width, H / stride, W / stride)."""
        y = relu(self.bn1(self.conv1(x)), inplace=True)
        y = relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return relu(y, inplace=True)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the projection of a block's input, None where its shape is the output's."""
    if stride == 1 and inputs == outputs:
        return None
    projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))


Block = type[BasicBlock] | type[Bottleneck]
BACKBONES: dict[str, tuple[Block, tuple[int, int, int]]] = {  # and how many blocks a stage has
    "resnet18": (BasicBlock, (2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6)),
    "resnet50": (Bottleneck, (3, 4, 6)),
    "resnet101": (Bottleneck, (3, 4, 23)),
}


class ResNet(nn.Module):
    """The layers of a ResNet, random; they are run one by one."""

    def __init__(self, backbone: str) -> None:
        """Build the layers of "resnet18", "resnet34", "resnet50" or "resnet101"."""
        super().__init__()
        block, (first, second, third) = BACKBONES[backbone]
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(block, 64, 64, first, stride=1)
        self.layer2 = stage(block, 64 * block.expansion, 128, second, stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, third, stride=2)
        for module in self.modules():
            # without values there is nothing to draw, for which PyTorch would import its compiler
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def stage(block: Block, inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    """Return blocks, the first of which changes size and channels."""
    first = block(inputs, width, stride)
    others = [block(width * block.expansion, width, 1) for _ in range(count - 1)]
    return nn.Sequential(first, *others)
