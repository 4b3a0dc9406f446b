"""How the doctor's results look on a terminal."""

from __future__ import annotations

import os

from rich.table import Table
from rich.text import Text

from motion_ray.config import CustomizationConfig
from motion_ray.customization.checkup import Checkup
from motion_ray.customization.forecast import Forecast
from motion_ray.customization.memory import room_here, smaller
from motion_ray.data.clips import MotionFolder
from motion_ray.data.inspect import ClipReport, Finding, TokenPlacement
from motion_ray.types import ExampleSet

SHOWN_ROWS = 40
TOKEN_STYLE = "bold magenta"


def headline(folder: MotionFolder) -> Text:
    """Name, V*, and whether clips may be mirrored."""
    text = Text(f"motion {folder.name}: V* is {folder.token}")
    text.append(f", meaning {folder.description!r}" if folder.description else "")
    text.append(", may be mirrored" if folder.flip else ", not mirrored")
    text.highlight_words([folder.token], TOKEN_STYLE)
    return text


def clip_table(checkup: Checkup) -> Table:
    """A row for a clip: file, content, caption and the place of V* in it."""
    table = Table(
        "set", "clip", "size", "frames", "fps", "length", "pixels", "coded", "caption", "V*"
    )
    placements = checkup.placements or (None,) * len(checkup.clips)
    token = checkup.motion.folder.token
    for report, placement in list(zip(checkup.clips, placements, strict=True))[:SHOWN_ROWS]:
        caption = Text(report.clip.caption)
        caption.highlight_words([token], TOKEN_STYLE, case_sensitive=False)
        table.add_row(
            str(report.source),
            Text(report.clip.path.name),
            size(report.size),
            *_content(report),
            caption,
            _place(report, placement),
        )
    hidden = len(checkup.clips) - SHOWN_ROWS
    table.caption = f"and {hidden} more" if hidden > 0 else None
    return table


def cost_table(cost: Forecast, config: CustomizationConfig) -> Table:
    """What the run takes, and how that is known."""
    kind = "measured" if cost.measured else "estimate"
    table = Table("what", "how much", "how known", title="forecast")
    numbers = f"{cost.trainable_parameters / 1e6:,.1f} M in {cost.trainable_tensors} tensors"
    table.add_row("parameters that train", numbers, "counted")
    table.add_row("weights in memory", size(cost.weights), "counted")
    where = "counted; in host memory" if config.engine.offload_optimizer else "counted"
    table.add_row("optimizer state", size(cost.optimizer), where)
    how = "counted in a real step" if cost.measured else "estimate: counted without data"
    table.add_row("activations and gradients", size(cost.activations), how)
    table.add_row("peak memory", size(cost.peak), f"sum, {kind} for {cost.device}")
    here = room_here()
    if here is not None and not cost.measured:
        name, room = here
        fits = "enough" if cost.peak <= room else f"not enough: {smaller(config)}"
        table.add_row("memory of this GPU", size(room), f"{name}: {fits}")
    table.add_row("work of a step", f"{cost.operations / 1e12:,.3g} TFLOP", "counted")
    timed = f"{kind} for {cost.device}"
    cores = os.cpu_count() or 1
    if cost.measured and os.getloadavg()[0] > cores + 1:
        timed += "; this machine is busy"
    table.add_row("one step", f"{cost.seconds:.3g} s", timed)
    steps = f"{config.max_steps} steps"
    table.add_row("all steps", _minutes(cost.seconds * config.max_steps), steps)
    each = f"{cost.video_seconds:.3g} s each, estimate"
    made = f"{cost.videos} (validation, report, synthetic D^r), {each}"
    table.add_row("videos", _minutes(cost.videos * cost.video_seconds), made)
    more = "and encoding clips, writing checkpoints; less where a floor ends it"
    table.add_row("both", _minutes(cost.total_seconds(config.max_steps)), more)
    table.add_row("latent cache", size(cost.latents), "counted; on disk and in host memory")
    table.add_row("checkpoint", size(cost.checkpoint), "counted; two are kept")
    table.add_row("delta", size(cost.delta), "counted")
    return table


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min"


def finding_line(finding: Finding) -> Text:
    """One problem."""
    kind, style = ("error", "bold red") if finding.fatal else ("warning", "yellow")
    return Text(f"{kind}: ", style) + Text(finding.text, "default")


def size(count: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def _content(report: ClipReport) -> tuple[str, str, str, str, str]:
    info = report.info
    if info is None:
        return "?", "?", "?", "?", "?"
    pixels = f"{info.width}x{info.height}"
    return str(info.frames), f"{info.fps:.4g}", f"{info.seconds:.1f} s", pixels, info.codec


def _place(report: ClipReport, placement: TokenPlacement | None) -> str:
    if placement is None or report.source is ExampleSet.REGULARIZATION:
        return ""
    if not placement.positions:
        return "missing"
    first, last = placement.positions[0], placement.positions[-1]
    where = str(first) if first == last else f"{first}-{last}"
    return f"{where} of {placement.length}"
