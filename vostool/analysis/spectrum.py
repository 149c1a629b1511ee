"""`vostool spectrum`: what the correction does to masks, by frequency (journal Eq. 9, Fig. 3).

Of every corrected frame and object, the amplitudes of the mask before and after, and their
ratio; the means of all three are drawn as contour maps.

Shapes: maps (h, w), frequencies down and across in cycles per pixel from -1/2 to 1/2, the
lowest in the middle.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vostool import __version__
from vostool.analysis.figures import refuse_to_replace, save_array, save_figure, save_json
from vostool.datasets.layout import clip_names, clip_source, masks_root
from vostool.device import oom_as_device_error
from vostool.errors import InputError, UsageError
from vostool.files import output_folder
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.video import Stopwatch, predict
from vostool.media.folder import natural_key
from vostool.media.masks import parse_mask_options
from vostool.media.video import probe, read_undamaged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1  # of spectrum.json
MAPS = ("before", "after", "ratio")
FILES = ("spectrum.png", *(f"{name}.npy" for name in MAPS), "spectrum.json")
LEAST = 1e-8  # of an amplitude that is divided by; the largest possible is 1
LEVELS = 25  # of the contours
TOP = 0.995  # share of the ratios that the contours tell apart
BANDS = {"low": (0.0, 0.25), "middle": (0.25, 0.5), "high": (0.5, 2.0)}  # 1: half a cycle a pixel

Map = NDArray[np.float64]


@dataclass(frozen=True)
class SpectrumJob:
    """What to go through, and where to put what is found."""

    source: Path  # a video, or a folder of clips with masks
    output: Path
    mask: str | None = None  # of a video's first frame; None: `source` is a folder of clips
    listed: Path | None = None  # of such a folder, the file that names the clips
    end: int | None = None  # frame to stop before, in every clip
    overwrite: bool = False


def spectrum(
    job: SpectrumJob,
    predictor: Predictor,
    progress: Callable[[int, int | None, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Correct the frames of a clip or several, and return the report, also in spectrum.json.

    `progress` is called with the number of frames corrected so far.
    Raises UsageError, InputError, MaskError, OutputError or DeviceError.
    """
    if predictor.correction is None or not predictor.correction.moves:
        raise UsageError("expected a correction with steps and a rate: there is none to look at")
    if predictor.correction.memory_only:
        raise UsageError("--gc-memory-only: leaves the masks as they were, with nothing to see")
    clips = list_clips(job)
    refuse_to_replace(job.output, FILES, job.overwrite)
    total: Map = np.zeros((0, 0, 0))
    count = 0
    with output_folder(job.output), oom_as_device_error(predictor.device):
        for name, video, mask in clips:
            for maps in measure(video, mask, predictor, job.end):
                total = total + fit(maps, total.shape[1:]) if count else maps
                count += 1
                progress(count, None, name)
        if not count:
            raise InputError(f"{job.source}: no frame was corrected; too short for --gc-every?")
        means = dict(zip(MAPS, total / count, strict=True))
        report = describe(job, predictor, [name for name, _, _ in clips], count, means)
        (job.output / "spectrum.json").unlink(missing_ok=True)  # it belongs to the older files
        save_figure(job.output / "spectrum.png", draw(means))
        for name, values in means.items():
            save_array(job.output / f"{name}.npy", values.astype(np.float32))
        save_json(job.output / "spectrum.json", report)
    return report


def list_clips(job: SpectrumJob) -> list[tuple[str, Path, str]]:
    """Return name, video and first mask of every clip."""
    if job.mask is not None:
        if job.listed is not None:
            raise UsageError("--list names clips of a folder, --mask goes with a single video")
        return [(job.source.name, job.source, job.mask)]
    if not job.source.is_dir():
        raise UsageError(f"{job.source}: expected --mask MASK.png with it, or a folder of clips")
    clips: list[tuple[str, Path, str]] = []
    for name in clip_names(job.source, job.listed and job.listed.resolve()):
        masks = sorted((masks_root(job.source) / name).glob("*.png"), key=natural_key)
        if not masks:
            raise InputError(f"{masks_root(job.source) / name}: holds no mask")
        clips.append((name, clip_source(job.source, name), str(masks[0])))
    return clips


def measure(video: Path, mask: str, predictor: Predictor, end: int | None) -> Iterator[Map]:
    """Yield before, after and ratio, (3, h, w), of every corrected mask of a clip."""
    given = GivenMasks(parse_mask_options([mask]), probe(video))
    frames = read_undamaged(video, 0, end)
    with closing(predict(frames, given, predictor, Stopwatch())) as predictions:
        for frame, prediction in predictions:  # noqa: B007
            if prediction.uncorrected is not None:
                yield from (
                    amplitudes(prediction.uncorrected[0, 1:], prediction.masks[0, 1:])
                    .cpu()
                    .double()
                    .numpy()
                )
    given.check_reached(frame.index + 1)


def amplitudes(before: Tensor, after: Tensor) -> Tensor:
    """Eq. 9 of every object: the amplitudes before, after, and their ratio, (N, 3, h, w).

    Amplitudes are divided by the number of pixels, so that the mean of a mask stands in the
    middle.
    """
    pixels = before.shape[-2] * before.shape[-1]
    first, last = (torch.fft.fft2(masks.double()).abs() / pixels for masks in (before, after))
    maps = torch.stack([first, last, last / first.clamp(min=LEAST)], dim=1)
    return torch.fft.fftshift(maps, dim=(-2, -1))


def fit(maps: Map, size: Sequence[int]) -> Map:
    """Bring maps to the size of others: the same frequencies, of frames of another shape."""
    if maps.shape[1:] == tuple(size):
        return maps
    resized = functional.interpolate(torch.from_numpy(maps)[None], size=list(size), mode="bilinear")
    return resized[0].numpy()


def bands(means: dict[str, Map]) -> dict[str, dict[str, float]]:
    """Return for each band the mean of Eq. 9, and the ratio of the mean amplitudes."""
    height, width = means["ratio"].shape
    down, across = (np.fft.fftshift(np.fft.fftfreq(side)) for side in (height, width))
    radius = np.hypot(down[:, None], across[None]) / 0.5
    found = {}
    for name, (low, high) in BANDS.items():
        there = (radius >= low) & (radius < high)
        before, after = (float(means[each][there].mean()) for each in ("before", "after"))
        found[name] = {
            "ratio": float(means["ratio"][there].mean()),
            "before": before,
            "after": after,
            "after_to_before": after / before if before else float("nan"),
        }
    return found


def describe(
    job: SpectrumJob, predictor: Predictor, clips: Sequence[str], count: int, means: dict[str, Map]
) -> dict[str, Any]:
    """Return the report: what was corrected how, and the response by band."""
    assert predictor.correction is not None
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": {"vostool": __version__, "torch": torch.__version__},
        "network": predictor.identity,
        "options": {
            **asdict(job),
            "device": str(predictor.device),
            "precision": str(predictor.precision).removeprefix("torch."),
            "size": predictor.size,
            "correction": asdict(predictor.correction),
        },
        "clips": list(clips),
        "masks": count,
        "bands": bands(means),
        "picture": str(job.output / "spectrum.png"),
        **{name: str(job.output / f"{name}.npy") for name in MAPS},
    }


def draw(means: dict[str, Map]) -> "Figure":
    """Draw the three contour maps of Fig. 3 in logarithms: of 10 the amplitudes, of 2 the ratio."""
    from matplotlib.figure import Figure

    amplitude = [np.log10(np.maximum(means[name], LEAST)) for name in MAPS[:2]]
    ratio = np.log2(np.maximum(means["ratio"], LEAST))
    largest = max(1.0, float(np.quantile(np.abs(ratio), TOP)))
    heights = np.linspace(min(values.min() for values in amplitude), 0, LEVELS)
    changes = np.linspace(-largest, largest, LEVELS)
    drawings = (
        ("before, log10 of amplitude", amplitude[0], heights, "viridis"),
        ("after, log10 of amplitude", amplitude[1], heights, "viridis"),
        ("log2 of after / before (Eq. 9)", ratio, changes, "PuOr_r"),
    )
    figure = Figure((13, 3.6), dpi=150, layout="constrained")
    across, down = (np.fft.fftshift(np.fft.fftfreq(side)) for side in ratio.shape[::-1])
    for axes, (title, values, levels, colours) in zip(figure.subplots(1, 3), drawings, strict=True):
        drawn = axes.contourf(across, down, values, levels=levels, cmap=colours, extend="both")
        figure.colorbar(drawn, ax=axes)
        axes.set(title=title, xlabel="cycles per pixel, across", ylabel="down")
    return figure
