"""What one visitor of the page has chosen and made."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

from metastyle_jax.stylization.blending import Regions
from metastyle_jax.stylization.stylizer import Stylizer


@dataclasses.dataclass(eq=False)
class Visit:
    """The state of one open page.

    Attributes:
      drawn_with: what the next picture is drawn with; None before anything is chosen.
      adapted: what the adaptation of this visitor has reached; None before.
      artwork: file of the artwork that `adapted` belongs to.
      losses: of all its steps.
      stops: how often Stop was pressed; it ends all adaptations that were asked for before.
      closed: the page is gone, and its adaptations end.
      choices: of styles, so far.
      root: where `folder` is made; None for the system's temporary folder.
      folder: for the files that are offered for download; made when it is first used.
    """

    drawn_with: Stylizer | Regions | None = None
    adapted: Stylizer | None = None
    artwork: str = ""
    losses: tuple[float, ...] = ()
    stops: int = 0
    closed: bool = False
    choices: int = 0
    root: Path | None = None
    folder: Path | None = None

    def count_choice(self) -> int:
        """The number of the choice that was just made."""
        self.choices += 1
        return self.choices

    def stop(self) -> None:
        """End the adaptation that runs, and those that wait in line."""
        self.stops += 1

    def has_ended(self, asked: int) -> bool:
        """Whether an adaptation has to end that was asked for after so many `stops`."""
        return self.closed or self.stops > asked

    def file(self, name: str) -> Path:
        """Where a file for download goes."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="visit-", dir=self.root))
        return self.folder / name

    def close(self) -> None:
        """End what runs, and delete all files; the page was closed."""
        self.closed = True
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
