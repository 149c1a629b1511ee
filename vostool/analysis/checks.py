"""The scores of a run's masks, drawn over time."""

from typing import TYPE_CHECKING

from vostool.inference.checks import LOW, Checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE, DOTS = (9.0, 1.9), 110  # inches of an object's plot, dots per inch
MOST = 12  # objects that are drawn, those of the lowest confidence


def draw_checks(checks: Checks) -> "Figure":
    """Return a figure of the scores of each object by frame; what is worth a look is marked."""
    from matplotlib.figure import Figure

    worst = sorted(checks.objects, key=lambda id_: min(checks.objects[id_].confidence))[:MOST]
    figure = Figure((SIZE[0], SIZE[1] * len(worst) + 0.5), dpi=DOTS, layout="constrained")
    axes = figure.subplots(len(worst), 1, squeeze=False, sharex=True)[:, 0]
    for place, id_ in zip(axes, sorted(worst), strict=True):
        scores = checks.objects[id_]
        place.plot(scores.frames, scores.score, "-o", ms=3, lw=1.4, label="cycle score")
        place.plot(scores.frames, scores.confidence, lw=0.9, label="mean probability")
        place.plot(scores.frames, scores.presence, ":", lw=0.9, label="highest probability")
        place.axhline(LOW, color="grey", lw=0.6)
        for stretch in checks.look_at:
            if stretch.object == id_:
                half = checks.every / 2
                place.axvspan(stretch.first - half, stretch.last + half, color="red", alpha=0.15)
        place.set(ylim=(0, 1.02), ylabel=f"object {id_}")
        place.grid(alpha=0.3)
    axes[-1].set_xlabel("frame")
    axes[0].legend(fontsize=7, loc="lower left")
    return figure
