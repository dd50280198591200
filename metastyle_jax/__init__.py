"""Neural style transfer as bilevel optimization, in JAX and Flax.

    import metastyle_jax as ms
    stylizer = ms.load("pack:starry_night")
    picture = stylizer(photo)
    mine = ms.adapt(style_image, contents=folder); mine.save("mine.safetensors")

The names below are loaded when they are first used, so that the import itself takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metastyle_jax import bilevel as bilevel
    from metastyle_jax.adaptation.from_pictures import adapt as adapt
    from metastyle_jax.errors import UserError as UserError
    from metastyle_jax.export.exporting import export_stylizer as export_stylizer
    from metastyle_jax.export.web_page import export_page as export_page
    from metastyle_jax.stylization.blending import Regions as Regions
    from metastyle_jax.stylization.blending import blend as blend
    from metastyle_jax.stylization.loading import load as load
    from metastyle_jax.stylization.stylizer import Stylizer as Stylizer
    from metastyle_jax.stylization.variations import variations as variations

__version__ = "0.1.0"
__all__ = [
    "Regions",
    "Stylizer",
    "UserError",
    "__version__",
    "adapt",
    "bilevel",
    "blend",
    "export_page",
    "export_stylizer",
    "load",
    "variations",
]

_MODULES = {
    "Regions": "metastyle_jax.stylization.blending",
    "Stylizer": "metastyle_jax.stylization.stylizer",
    "UserError": "metastyle_jax.errors",
    "adapt": "metastyle_jax.adaptation.from_pictures",
    "blend": "metastyle_jax.stylization.blending",
    "export_page": "metastyle_jax.export.web_page",
    "export_stylizer": "metastyle_jax.export.exporting",
    "load": "metastyle_jax.stylization.loading",
    "variations": "metastyle_jax.stylization.variations",
}


def __getattr__(name: str) -> Any:
    if name == "bilevel":
        return importlib.import_module("metastyle_jax.bilevel")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
