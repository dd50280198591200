"""Embedded color profiles: conversion of pictures to sRGB."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

# color space of a profile -> the mode in which Pillow's pictures go through it
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_INK = "CMYK"
# errors of damaged profiles; ImportError if Pillow was built without color management
_ERRORS = (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError)
_SAME = 1  # gray levels, the rounding of a conversion that changes nothing


def profile_problem(image: Image.Image) -> str | None:
    """A note if the profile of a picture cannot be used; None otherwise.

    Needs the header of the picture only.
    """
    profile = image.info.get("icc_profile")
    if not profile or _deep(image):
        return None
    try:
        usable = _suits(image, profile) and _transform(profile) is not None
    except _ERRORS:
        usable = False
    return None if usable else "its color profile cannot be used and is ignored"


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert a decoded picture without transparency to sRGB.

    Args:
      image: of any mode but 16-bit and floating gray.

    Returns:
      A picture of mode RGB. Values are unchanged without a profile, with a damaged one, or with one
      for another color space; they count as sRGB. They are also unchanged if the profile changes
      no color by more than a rounding error.

    Raises:
      ValueError: Pillow cannot convert this mode to RGB.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB")
    try:
        if not _suits(image, profile):
            return image.convert("RGB")
        mode, transform, changes = _transform(profile)
        if changes:
            converted = ImageCms.applyTransform(image.convert(mode), transform)
            assert converted is not None  # it is only where a picture is changed in place
            return converted
    except _ERRORS:
        pass  # callers of `profile_problem` report this
    return image.convert("RGB")


def _deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _space(profile: bytes) -> str:
    """The color space that the header of a profile names (ICC.1, 7.2.6)."""
    return profile[16:20].decode("ascii", "replace").strip()


def _suits(image: Image.Image, profile: bytes) -> bool:
    """Whether numbers of the picture's mode can be numbers of the profile's color space."""
    space = _space(profile)
    if space == "GRAY":
        return image.mode in ("1", "L", "LA", "La")
    return space in _MODES and (space == _INK) == (image.mode == _INK)


@functools.lru_cache(maxsize=16)  # pictures of one camera share a profile
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform, bool]:
    """(mode that goes in, the conversion to sRGB, whether it changes anything)."""
    mode = _MODES[_space(profile)]
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,  # else the black of inks is gray
    )
    if mode == _INK:
        return mode, transform, True
    probe = _probe(mode)
    after = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
    difference = np.abs(after - np.asarray(probe.convert("RGB"), np.int16))
    return mode, transform, bool(difference.max() > _SAME)


def _probe(mode: str) -> Image.Image:
    """Colors from all over the cube, or all grays, one row."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3))
