"""Plot of a success detector's ROC curve and reliability, side by side."""

from __future__ import annotations

from pathlib import Path

from soar.vlm.calibration import Curve, Reliability


def plot_calibration(
    curve: Curve, reliability: Reliability, threshold: float, path: str | Path
) -> None:
    """Write the plot as an image file; a ring marks the threshold on the ROC curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, *curve.false_positive_rate, 1], [0, *curve.recall, 1])
    at = int((curve.thresholds >= threshold).sum()) - 1
    if at >= 0:
        point = curve.false_positive_rate[at], curve.recall[at]
        left.plot(*point, "o", fillstyle="none", markersize=10)
    left.set(xlabel="failures called success", ylabel="recall", title=f"ROC, area {curve.area:.3f}")
    right.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    right.plot(reliability.predicted, reliability.observed, "o-")
    for x, y, n in zip(*reliability, strict=True):
        right.annotate(str(n), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=8)
    right.set(
        xlabel="predicted P(success)", ylabel="share that succeeded",
        title=f"reliability, calibration error {reliability.error:.3f}",
    )  # fmt: skip
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
