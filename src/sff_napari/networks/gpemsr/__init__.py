"""The three stages of Shou et al. (CVPR 2024), at any size.

A code book of full-resolution tissue (`codebook`), an indexer that reads the codes from a
low slice (`indexer`), and a network that fuses this prior with five low slices (`fusion`).
What cannot be had is replaced: optical flow is given, and where the prior is believed is
judged at low magnification instead of by features of a network trained on photographs.
"""
