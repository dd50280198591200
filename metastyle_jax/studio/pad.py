"""A pad on which four styles are blended: a style in each corner, a knob between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metastyle_jax.errors import UserError

CENTER = {"x": 0.5, "y": 0.5}

HTML = """
<div class="pad-area"><div class="pad-knob" style="left:${value.x * 100}%;top:${value.y * 100}%">
</div></div>
"""

CSS = """
.pad-area { position: relative; height: 180px; max-width: 320px; border-radius: 8px;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary);
  touch-action: none; cursor: crosshair; }
.pad-knob { position: absolute; width: 24px; height: 24px; margin: -12px 0 0 -12px;
  border-radius: 50%; background: var(--color-accent); border: 2px solid white; }
"""

# the listeners are on `element`, which stays while its contents are written anew
SCRIPT = """
element.tabIndex = 0;
element.setAttribute('role', 'application');
element.setAttribute('aria-label', 'Blend: arrow keys move the knob between the four corners');
const move = (x, y) => {
  const inside = (v) => Math.round(100 * Math.min(1, Math.max(0, v))) / 100;
  props.value = { x: inside(x), y: inside(y) };
  trigger('change');
};
const follow = (event) => {
  const box = element.querySelector('.pad-area').getBoundingClientRect();
  move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
};
let dragged = false;
element.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.pad-area')) return;
  dragged = true;
  element.setPointerCapture(event.pointerId);
  follow(event);
});
element.addEventListener('pointermove', (event) => { if (dragged) follow(event); });
element.addEventListener('pointerup', () => { dragged = false; });
element.addEventListener('keydown', (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const [right, down] = steps[event.key];
  move(props.value.x + 0.1 * right, props.value.y + 0.1 * down);
});
"""


def shares(names: Sequence[str | None], place: Mapping[str, Any]) -> dict[str, float]:
    """The share of each style: bilinear in the place of the knob.

    Args:
      names: of the styles top left, top right, bottom left and bottom right; empty for none there.
        One style may be in several corners.
      place: {"x", "y"} of the knob, each 0 to 1, from the top left.

    Returns:
      {name: share}, shares above 0 that add up to 1.

    Raises:
      UserError: there is no style, or the place is none.
    """
    try:
        x, y = (float(place[axis]) for axis in ("x", "y"))
    except (KeyError, TypeError, ValueError):
        x = y = math.nan
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UserError("the knob of the pad is outside it: move it back")
    corners = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    found: dict[str, float] = {}
    for name, share in zip(names, corners, strict=True):
        if name:
            found[name] = found.get(name, 0.0) + share
    if not found:
        raise UserError("the pad has no style: choose one for a corner")
    total = sum(found.values())
    if not total:  # the knob is in a corner without a style
        return dict.fromkeys(found, 1 / len(found))
    return {name: share / total for name, share in found.items() if share}
