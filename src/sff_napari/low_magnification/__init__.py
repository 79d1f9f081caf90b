"""Slices, and stacks, that exist only at low magnification.

`enlarge` makes a slice at full resolution from one at low magnification and its
full-resolution neighbours; the result reduced by area is the slice it came from.  The
question is that of Shou et al., Learning Large-Factor EM Image Super-Resolution with
Generative Priors (CVPR 2024), who enlarge stacks.
"""

from sff_napari.low_magnification.enlarged import Enlarged
from sff_napari.low_magnification.frame import Frame, in_place
from sff_napari.low_magnification.methods import METHODS, Method
from sff_napari.low_magnification.one_slice import enlarge
from sff_napari.low_magnification.whole_stack import enlarge_stack

__all__ = ["METHODS", "Enlarged", "Frame", "Method", "enlarge", "enlarge_stack", "in_place"]
