"""A detector's ROC curve and reliability, side by side."""

from __future__ import annotations

from pathlib import Path

from soar.vlm.calibration import Curve, Reliability


def plot(found: Curve, honest: Reliability, threshold: float, path: str | Path) -> None:
    """Write both as one picture; the threshold is a ring on the curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    roc, trust = figure.subplots(1, 2)
    roc.plot([0, *found.false_alarms, 1], [0, *found.recall, 1])
    at = int((found.thresholds >= threshold).sum()) - 1
    if at >= 0:
        roc.plot(found.false_alarms[at], found.recall[at], "o", fillstyle="none", markersize=10)
    roc.set(xlabel="failures called success", ylabel="recall", title=f"ROC, area {found.area:.3f}")
    trust.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    trust.plot(honest.said, honest.was, "o-")
    for x, y, n in zip(honest.said, honest.was, honest.episodes, strict=True):
        trust.annotate(str(n), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=8)
    trust.set(
        xlabel="P(success) as said", ylabel="share that succeeded",
        title=f"reliability, error {honest.error:.3f}",
    )  # fmt: skip
    for axes in (roc, trust):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
