"""The journal paper's scores (Tables 1 and 2), to compare with a run's own.

Frames per second are the paper's, of the network alone on a Titan Xp at 240x427.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One method: J, F, J&F, or J_S, J_U, F_S, F_U, G; in per cent."""

    method: str
    scores: tuple[float, ...]
    fps: str


PUBLISHED: dict[tuple[str, str], tuple[Row, ...]] = {
    ("davis16", "val"): (
        Row("STM-ResNet18-cycle", (80.4, 80.3, 80.4), "64.5"),
        Row("STM-ResNet18-cycle + correction", (81.3, 81.1, 81.2), "17.7"),
        Row("STM-ResNet50-cycle", (84.1, 83.7, 83.9), "38.5"),
        Row("STM-ResNet50-cycle + correction", (84.1, 83.8, 84.0), "11.5"),
        Row("STM-ResNet50, COCO, larger input", (88.9, 88.9, 88.9), "7.4"),
        Row("STM-ResNet50-cycle + correction, COCO", (89.2, 90.4, 89.8), "2.0"),
    ),
    ("davis17", "val"): (
        Row("STM-ResNet18-cycle", (64.7, 69.9, 67.3), "55.3"),
        Row("STM-ResNet18-cycle + correction", (65.3, 70.8, 68.1), "13.4"),
        Row("STM-ResNet50-cycle", (68.7, 74.7, 71.7), "38"),
        Row("STM-ResNet50-cycle + correction", (69.8, 75.9, 72.9), "9.3"),
        Row("STM-ResNet50, COCO, larger input", (79.7, 84.4, 82.0), "7.9"),
        Row("STM-ResNet50-cycle + correction, COCO", (80.4, 85.2, 82.8), "2.5"),
    ),
    ("davis17", "test-dev"): (
        Row("STM-ResNet18-cycle", (53.2, 58.4, 55.8), "44.7"),
        Row("STM-ResNet18-cycle + correction", (53.7, 60.5, 57.2), "10.7"),
        Row("STM-ResNet50-cycle", (55.1, 60.5, 57.8), "31"),
        Row("STM-ResNet50-cycle + correction", (55.4, 62.8, 59.1), "6.9"),
    ),
    ("youtube-vos", "valid"): (
        Row("STM-ResNet18-cycle", (69.2, 56.2, 72.5, 65.0, 65.7), "63"),
        Row("STM-ResNet18-cycle + correction", (70.4, 58.2, 73.9, 67.2, 67.5), "15.2"),
        Row("STM-ResNet50-cycle", (71.7, 61.4, 75.8, 70.4, 69.9), "43"),
        Row("STM-ResNet50-cycle + correction", (72.6, 63.0, 76.7, 72.3, 71.2), "13.8"),
        Row("STM-ResNet50, COCO, larger input", (76.1, 70.8, 79.6, 77.5, 76.0), "3.9"),
        Row("STM-ResNet50-cycle + correction, COCO", (77.8, 73.3, 81.5, 80.1, 78.2), "0.9"),
    ),
}
