"""Which of several equal ways to compute a convolution a CPU takes; accelerators have their own.

What is fastest depends on the processor. The default is what was measured on AMD EPYC
(docs/results/speed.md); `adaptation.convolution_timing` measures it on another one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax


class Forms(NamedTuple):
    """Ways to compute the convolutions on a CPU, equal up to rounding.

    Attributes:
      winograd_channels: kernels of 3x3 with at least so many input and output channels take
        Winograd's form; 0 for none.
      first_in_blocks: the 9x9 convolution of the picture, see `convolution.convolve_blocked`.
      last_in_blocks: the 9x9 convolution that gives the picture.
      upsampling_in_phases: see `convolution.upsample_in_phases`.
    """

    winograd_channels: int = 64
    first_in_blocks: bool = False
    last_in_blocks: bool = True
    upsampling_in_phases: bool = True


_used = Forms()


def used() -> Forms:
    """Those that programs are made of which are traced from now on."""
    return _used


def use(forms: Forms) -> None:
    """Let this process compute with `forms`; call it before anything is traced.

    What JAX has traced before is forgotten where the forms change.
    """
    global _used
    if forms != _used:
        _used = forms
        jax.clear_caches()
