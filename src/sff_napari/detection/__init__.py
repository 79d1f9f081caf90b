"""Find folds in slices: binarisation, Hough transform, and following the dark ridge."""

from sff_napari.detection.binarise import binarise
from sff_napari.detection.calibrate import Calibration, CalibrationRow, calibrate
from sff_napari.detection.detect import detect_folds
from sff_napari.detection.hough import HoughLine, HoughSpace, hough_lines, hough_votes
from sff_napari.detection.match import Agreement, Matching, compare, match
from sff_napari.detection.snap import snap_fold

__all__ = [
    "Agreement",
    "Calibration",
    "CalibrationRow",
    "HoughLine",
    "HoughSpace",
    "Matching",
    "binarise",
    "calibrate",
    "compare",
    "detect_folds",
    "hough_lines",
    "hough_votes",
    "match",
    "snap_fold",
]
