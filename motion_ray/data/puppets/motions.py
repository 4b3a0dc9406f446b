"""The motions of the puppet world by name, and which of them do what.

A motion maps a :class:`~motion_ray.data.puppets.pose.Beat` (when, how strongly, facing where) to a
:class:`~motion_ray.data.puppets.pose.Pose`. It knows no bodies, so every kind of puppet can do
every motion: that is what makes "a held-out motion by an unseen character" a question with an
answer.
"""

from __future__ import annotations

from dataclasses import replace

from motion_ray.data.puppets.base_motions import (
    bowing,
    clapping,
    dancing,
    flapping_arms,
    jumping,
    kicking,
    marching,
    punching,
    raising_both_arms,
    raising_one_arm,
    squatting,
    standing_still,
    stretching,
    walking,
    waving,
)
from motion_ray.data.puppets.held_out_motions import (
    dabbing,
    drumming,
    gliding,
    rolling_arms,
    star_jumping,
    swinging_arms,
    swiping_down,
    windmilling,
)
from motion_ray.data.puppets.improvising import improvising
from motion_ray.data.puppets.pose import STYLES, Beat, Motion, Pose

__all__ = [
    "BASE_MOTIONS",
    "COMBINABLE_MOTIONS",
    "HELD_OUT_MOTIONS",
    "IMPROVISED",
    "LOWER_MOTIONS",
    "MIRRORED_MOTIONS",
    "MOTIONS",
    "NAMED_MOTIONS",
    "STYLES",
    "UPPER_MOTIONS",
    "Beat",
    "Motion",
    "Pose",
    "pose",
]

_BASE: dict[str, Motion] = {
    "standing still": standing_still,
    "waving": waving,
    "walking": walking,
    "jumping": jumping,
    "squatting": squatting,
    "raising both arms": raising_both_arms,
    "clapping": clapping,
    "kicking": kicking,
    "bowing": bowing,
    "punching": punching,
    "dancing": dancing,
    "stretching": stretching,
    "raising one arm": raising_one_arm,
    "flapping arms": flapping_arms,
    "marching": marching,
}
_HELD_OUT: dict[str, Motion] = {
    "swiping down": swiping_down,
    "drumming": drumming,
    "rolling arms": rolling_arms,
    "dabbing": dabbing,
    "swinging arms": swinging_arms,
    "star jumping": star_jumping,
    "windmilling": windmilling,
    "gliding": gliding,
}
IMPROVISED = "improvising"  # what the code calls it; no caption does
MOTIONS: dict[str, Motion] = _BASE | _HELD_OUT | {IMPROVISED: improvising}
BASE_MOTIONS = tuple(_BASE)
HELD_OUT_MOTIONS = tuple(_HELD_OUT)
NAMED_MOTIONS = BASE_MOTIONS + HELD_OUT_MOTIONS
# A composition ("waving while jumping") has arms, trunk and head of an upper-body motion, legs and
# travel of a lower-body one.
UPPER_MOTIONS = ("waving", "raising both arms", "raising one arm", "clapping", "punching")
# A scene may also ask for a held-out motion with other legs; none is drawn by lot.
COMBINABLE_MOTIONS = UPPER_MOTIONS + HELD_OUT_MOTIONS
LOWER_MOTIONS = ("walking", "jumping", "squatting", "kicking", "marching")
# Their mirror image is the same motion, half a cycle later or by a puppet facing the other way; an
# improvised gesture becomes another gesture without a name.
MIRRORED_MOTIONS = frozenset(MOTIONS) - {
    "waving",
    "kicking",
    "stretching",
    "raising one arm",
    "swiping down",
}


def pose(motion: str, beat: Beat, also: str | None = None) -> Pose:
    """The pose of a motion, with the legs and the travel of a second one if ``also`` is given."""
    upper = MOTIONS[motion](beat)
    if also is None:
        return upper
    lower = MOTIONS[also](beat)
    return replace(
        upper,
        left_hip=lower.left_hip,
        left_knee=lower.left_knee,
        right_hip=lower.right_hip,
        right_knee=lower.right_knee,
        shift_x=lower.shift_x,
        shift_y=lower.shift_y,
    )
