"""`vostool spectrum`: the effect of the correction on masks, by frequency (journal Eq. 9, Fig. 3).

The amplitudes of the mask before and after, and their ratio, are averaged over all corrected
frames and objects, and drawn as contour maps.

Shapes: maps (h, w), frequencies down and across in cycles per pixel from -1/2 to 1/2, the
lowest in the middle.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vostool import __version__
from vostool.analysis.reports import BandReport, SpectrumReport
from vostool.datasets.layout import clip_names, clip_source, masks_root
from vostool.device import oom_as_device_error, precision_name
from vostool.errors import InputError, UsageError
from vostool.files import output_folder
from vostool.files.claims import refuse_to_replace
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, predict
from vostool.media.figures import save_array, save_figure, save_json
from vostool.media.folder import list_files
from vostool.media.mask_options import parse_mask_options
from vostool.media.time_codes import Position, TimeCode, frame_number
from vostool.media.video import probe, read_undamaged
from vostool.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS = ("before", "after", "ratio")
FILES = ("spectrum.png", *(f"{name}.npy" for name in MAPS), "spectrum.json")
LEAST = 1e-8  # of an amplitude that is divided by; the largest possible is 1
LEVELS = 25  # of the contours
TOP = 0.995  # quantile of the ratios at which the contours end
BANDS = {"low": (0.0, 0.25), "middle": (0.25, 0.5), "high": (0.5, 2.0)}  # 1: half a cycle a pixel

Map = NDArray[np.float64]


@dataclass(frozen=True)
class SpectrumJob:
    """What to analyse, and where to write the result."""

    source: Path  # a video, or a folder of clips with masks
    output: Path
    mask: str | None = None  # of a video's first frame; None: `source` is a folder of clips
    listed: Path | None = None  # of such a folder, the file that names the clips
    end: Position | None = None  # frame to stop before, in every clip
    overwrite: bool = False


def spectrum(
    job: SpectrumJob, predictor: Predictor, progress: ProgressCallback = no_progress
) -> SpectrumReport:
    """Return the report on the corrected masks of one clip or several, and write it with its maps.

    `progress` counts corrected masks.
    Raises UsageError, InputError, MaskError, OutputError or DeviceError.
    """
    if predictor.correction is None or not predictor.correction.moves:
        raise UsageError("expected a correction: steps and a rate above 0")
    if predictor.correction.memory_only:
        raise UsageError("--gc-memory-only: the masks stay uncorrected; leave it out")
    clips = list_clips(job)
    if not job.overwrite:
        refuse_to_replace(job.output / name for name in FILES)
    total: Map = np.zeros((0, 0, 0))
    warnings: list[str] = []
    count = 0
    with output_folder(job.output), oom_as_device_error(predictor.device):
        for name, video, mask in clips:
            for maps in measure(video, mask, predictor, job.end, warnings):
                total = total + fit(maps, total.shape[1:]) if count else maps
                count += 1
                progress(count, None, name)
        if not count:
            raise InputError(f"{job.source}: no frame was corrected; try a smaller --gc-every")
        means = dict(zip(MAPS, total / count, strict=True))
        names = [name for name, _, _ in clips]
        report = describe(job, predictor, names, count, means, warnings)
        (job.output / "spectrum.json").unlink(missing_ok=True)  # it describes the older files
        save_figure(job.output / "spectrum.png", draw(means))
        for name, values in means.items():
            save_array(job.output / f"{name}.npy", values.astype(np.float32))
        save_json(job.output / "spectrum.json", report)
    return report


def list_clips(job: SpectrumJob) -> list[tuple[str, Path, str]]:
    """Return name, video and first mask of every clip; raises UsageError or InputError."""
    if job.mask is not None:
        if job.listed is not None:
            raise UsageError("--list --mask: one is for a folder of clips, one for a single video")
        return [(job.source.name, job.source, job.mask)]
    if not job.source.is_dir():
        raise UsageError(f"{job.source}: expected --mask MASK.png with a video")
    clips: list[tuple[str, Path, str]] = []
    for name in clip_names(job.source, job.listed and job.listed.resolve()):
        folder = masks_root(job.source) / name
        masks = list_files(folder, (".png",)) if folder.is_dir() else []
        if not masks:
            raise InputError(f"{folder}: expected masks *.png, found none")
        clips.append((name, clip_source(job.source, name), str(masks[0])))
    return clips


def measure(
    video: Path, mask: str, predictor: Predictor, end: Position | None, warnings: list[str]
) -> Iterator[Map]:
    """Yield before, after and ratio, (3, h, w), of every corrected mask; adds to `warnings`."""
    given = GivenMasks(parse_mask_options([mask], video=video), probe(video))
    warnings += given.warnings
    last = None if end is None else frame_number(end, video)
    frames = read_undamaged(video, 0, last, warnings)
    with closing(predict(frames, given, Tracker(predictor=predictor), Stopwatch())) as predictions:
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
    """Return amplitudes before and after, and their ratio (Eq. 9), by object, (N, 3, h, w).

    Amplitudes are divided by the number of pixels: in the middle is the mean of the mask.
    """
    pixels = before.shape[-2] * before.shape[-1]
    first, last = (torch.fft.fft2(masks.double()).abs() / pixels for masks in (before, after))
    maps = torch.stack([first, last, last / first.clamp(min=LEAST)], dim=1)
    return torch.fft.fftshift(maps, dim=(-2, -1))


def fit(maps: Map, size: Sequence[int]) -> Map:
    """Return maps resized to the size of others: the same frequencies, more or fewer of them."""
    if maps.shape[1:] == tuple(size):
        return maps
    resized = functional.interpolate(torch.from_numpy(maps)[None], size=list(size), mode="bilinear")
    return resized[0].numpy()


def bands(means: dict[str, Map]) -> dict[str, BandReport]:
    """Return for each band the mean of Eq. 9, and the ratio of the mean amplitudes."""
    height, width = means["ratio"].shape
    down, across = (np.fft.fftshift(np.fft.fftfreq(side)) for side in (height, width))
    radius = np.hypot(down[:, None], across[None]) / 0.5
    found = {}
    for name, (low, high) in BANDS.items():
        there = (radius >= low) & (radius < high)
        before, after = (float(means[each][there].mean()) for each in ("before", "after"))
        found[name] = BandReport(
            ratio=float(means["ratio"][there].mean()),
            before=before,
            after=after,
            after_to_before=after / before if before else None,
        )
    return found


def describe(
    job: SpectrumJob,
    predictor: Predictor,
    clips: Sequence[str],
    count: int,
    means: dict[str, Map],
    warnings: list[str],
) -> SpectrumReport:
    """Return the report: the clips, the correction, and the response by band."""
    assert predictor.correction is not None
    return SpectrumReport(
        versions={"vostool": __version__, "torch": torch.__version__},
        network=predictor.identity,
        options={
            **asdict(job),
            "end": str(job.end) if isinstance(job.end, TimeCode) else job.end,
            "device": str(predictor.device),
            "precision": precision_name(predictor.precision),
            "size": predictor.size,
            "correction": asdict(predictor.correction),
        },
        clips=list(clips),
        masks=count,
        warnings=warnings,
        bands=bands(means),
        picture=str(job.output / "spectrum.png"),
        before=str(job.output / "before.npy"),
        after=str(job.output / "after.npy"),
        ratio=str(job.output / "ratio.npy"),
    )


def draw(means: dict[str, Map]) -> "Figure":
    """Return the contour maps of Fig. 3: log10 of the amplitudes, log2 of their ratio."""
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
