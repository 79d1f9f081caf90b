"""FEABAS on one folded slice; run by peers.py in an environment of its own.

    python peer_feabas.py CASE.npz FLOW.npy

The fold is given as a mask that parts the slice.  Each part has a mesh of its own and is matched
block by block, at half resolution, to both neighbours; one elastic solve follows with both
neighbours locked.  The numbers below are the best of nine sets tried on eight folds of SNEMI3D and
of the nerve cord.  Writes the sampling offset (2, Y, X), (dy, dx) in px, NaN where no part of the
slice lies.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import feabas.constant as const
import numpy as np
from feabas import dal, optimizer
from feabas.matcher import section_matcher
from feabas.mesh import Mesh
from feabas.renderer import MeshRenderer

SCALE = 2
MESH = 120.0
"""Size of the triangles, px of the full slice."""
SPACINGS = (100, 50, 30)
"""Of the blocks, coarse to fine, px of the reduced slice."""
CONFIDENCE = 0.1
STIFFNESS = 0.5
RESOLUTION = 8.0
LEAST_PART = 0.01
"""Parts of the slice smaller than this share of it are left out."""


def reduced(image: np.ndarray) -> np.ndarray:
    """Return an image at half resolution."""
    return cv2.resize(image, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)


def parts(dark: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return outline and mask of each part a dark line parts a slice into."""
    count, labels = cv2.connectedComponents((~dark).astype(np.uint8), connectivity=4)
    found = []
    for label in range(1, count):
        mask = labels == label
        if mask.mean() < LEAST_PART:
            continue
        lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = cv2.approxPolyDP(max(lines, key=cv2.contourArea), 1.0, True)[:, 0]
        found.append((outline.astype(np.float64), mask))
    return found


def meshed(outline: np.ndarray, uid: int) -> Mesh:
    """Return the mesh of a part."""
    count = len(outline)
    segments = np.stack([np.arange(count), (np.arange(count) + 1) % count], axis=1)
    return Mesh.from_PSLG(
        outline, segments, mesh_size=MESH / SCALE, min_mesh_angle=20, uid=uid, resolution=RESOLUTION
    )


def unfolded(case: dict[str, np.ndarray]) -> np.ndarray:
    """Return the sampling offset (2, Y, X)."""
    height, width = case["damaged"].shape
    dark = cv2.resize(
        case["dark"].astype(np.uint8),
        (width // SCALE, height // SCALE),
        interpolation=cv2.INTER_AREA,
    ).astype(bool)
    found = parts(dark)
    neighbours = []
    for index, name in enumerate(("previous", "following")):
        image = reduced(case[name])
        box = (0, 0, image.shape[1], image.shape[0])
        mesh = Mesh.from_bbox(box, mesh_size=MESH / SCALE, uid=100 + index, resolution=RESOLUTION)
        mesh.lock()
        neighbours.append((mesh, dal.StreamLoader(image, resolution=RESOLUTION)))
    whole = reduced(case["damaged"])
    meshes = [meshed(outline, uid) for uid, (outline, _) in enumerate(found)]
    solver = optimizer.SLM([*meshes, *(mesh for mesh, _ in neighbours)], stiffness_lambda=STIFFNESS)
    for mesh, (_, mask) in zip(meshes, found, strict=True):
        level = int(whole[mask].mean())
        loader = dal.StreamLoader(
            np.where(mask, whole, level).astype(np.uint8), fillval=level, resolution=RESOLUTION
        )
        for locked, other in neighbours:
            ends = section_matcher(
                mesh.copy(),
                locked.copy(),
                loader,
                other,
                spacings=list(SPACINGS),
                conf_thresh=CONFIDENCE,
                residue_len=5,
                stiffness_multiplier_threshold=0,
            )
            if ends[0] is not None:
                solver.add_link_from_coordinates(
                    mesh.uid, locked.uid, ends[0], ends[1], weight=ends[2], check_duplicates=False
                )
    solver.optimize_affine_cascade(
        start_gear=const.MESH_GEAR_INITIAL, target_gear=const.MESH_GEAR_FIXED, svd_clip=(1, 1)
    )
    solver.anneal(
        gear=(const.MESH_GEAR_FIXED, const.MESH_GEAR_MOVING), mode=const.ANNEAL_COPY_EXACT
    )
    solver.optimize_elastic(tol=1e-6)
    return rendered(meshes, (height, width))


def rendered(meshes: list[Mesh], shape: tuple[int, int]) -> np.ndarray:
    """Return where each pixel (2, Y, X) is found in the slice, less itself."""
    size = (-(-shape[0] // SCALE), -(-shape[1] // SCALE))
    flow = np.full((2, *size), np.nan, np.float32)
    rows, columns = np.indices(size)
    for mesh in meshes:
        renderer = MeshRenderer.from_mesh(mesh)
        x, y, mask = renderer.crop_field((0, 0, size[1], size[0]))
        if mask is not None:
            flow[0][mask] = (y - rows)[mask]
            flow[1][mask] = (x - columns)[mask]
    known = np.isfinite(flow[0])
    full = np.empty((2, *shape), np.float32)
    for axis in range(2):
        plane = np.where(known, flow[axis], 0) * SCALE
        full[axis] = cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(known.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    full /= np.maximum(share, 1e-6)
    full[:, share < 0.5] = np.nan
    return full


def main() -> None:
    """Unfold the case, and say how long it took."""
    with np.load(sys.argv[1]) as file:
        case = dict(file)
    begin = time.perf_counter()
    flow = unfolded(case)
    print(time.perf_counter() - begin)
    np.save(Path(sys.argv[2]), flow)


if __name__ == "__main__":
    main()
