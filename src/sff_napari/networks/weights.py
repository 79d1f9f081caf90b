"""Store weights as safetensors with what they are, made from what, and how good.

A file holds the tensors of one network (floating point, half precision where
that is safe) and, in its header, text fields: format, kind, width,
scale, architecture, package version, data, seed, scores and a SHA-256 of the tensors.
Files named ``interpolation.safetensors``, ``unfolding.safetensors``,
``fusion.safetensors`` and ``filling.safetensors`` in one folder are a set;
``enlarging.safetensors`` and ``enlarging_stack.safetensors`` are one for slices at low
magnification;
``scan.safetensors`` restores scans, as ``scan_plain12.safetensors`` and
``scan_cgrdn.safetensors`` do, which do not come with the package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import sff_napari
from sff_napari.errors import InputError, WeightsError
from sff_napari.io_atomic import write_bytes
from sff_napari.networks.enlarging import EnlargingNetwork, StackEnlargingNetwork
from sff_napari.networks.fusion import FusionNetwork
from sff_napari.networks.gpemsr.codebook import size_of_width
from sff_napari.networks.gpemsr.fusion import GpemsrNetwork
from sff_napari.networks.inpainting import FillingNetwork
from sff_napari.networks.interpolation import InterpolationNetwork
from sff_napari.networks.scan import Cgrdn, Plain12, ScanNetwork
from sff_napari.networks.unfolding import UnfoldingNetwork

Bundled = (
    InterpolationNetwork
    | UnfoldingNetwork
    | FusionNetwork
    | FillingNetwork
    | EnlargingNetwork
    | ScanNetwork
    | Plain12
    | Cgrdn
)
Network = Bundled | GpemsrNetwork
NETWORKS: dict[str, type[Bundled]] = {
    "interpolation": InterpolationNetwork,
    "unfolding": UnfoldingNetwork,
    "fusion": FusionNetwork,
    "filling": FillingNetwork,
    "scan": ScanNetwork,
    "scan_plain12": Plain12,
    "scan_cgrdn": Cgrdn,
    "enlarging": EnlargingNetwork,
    "enlarging_stack": StackEnlargingNetwork,
}
UNBUNDLED: dict[str, type[GpemsrNetwork]] = {"gpemsr": GpemsrNetwork}
NOT_BUNDLED = {"gpemsr": "low-magnification", "scan_plain12": "scan", "scan_cgrdn": "scan"}
"""Networks of the literature whose weights do not come with the package, and what they are for."""
FORMAT = "sff-napari-weights"
ARCHITECTURE = "1"
"""Raised whenever a network changes so that older weights no longer fit."""
BUNDLED = Path(sff_napari.__file__).parent / "weights"
"""Folder of the weights that come with the package."""
FREE = "free"
"""Name of the set that was trained on synthetic tissue alone."""
TERMS = (
    "The bundled weights were trained on micrographs whose terms allow non-commercial use only; "
    f'weights "{FREE}" are a set trained on synthetic tissue alone.'
)


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says about itself.

    Parameters
    ----------
    kind : str
        The network, a key of `NETWORKS`.
    width : float
        Its width multiplier.
    data : str
        What it was trained on.
    seed : int
        Seed of the training.
    scores : mapping of str to float
        Validation scores.
    architecture, version : str
        Of the networks and of the package that wrote the file.
    sha256 : str
        Of the tensors; empty until the file is written.
    scale : int
        Of the unfolding network, see there; the factor of "gpemsr"; 1 for the others.
    """

    kind: str
    width: float
    data: str = ""
    seed: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    architecture: str = ARCHITECTURE
    version: str = sff_napari.__version__
    sha256: str = ""
    scale: int = 1

    def _to_header(self, sha256: str) -> dict[str, str]:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "width": repr(float(self.width)),
            "scale": str(self.scale),
            "architecture": self.architecture,
            "version": self.version,
            "data": self.data,
            "seed": str(self.seed),
            "scores": json.dumps(dict(self.scores), sort_keys=True),
            "sha256": sha256,
        }


def new_network(kind: str, width: float = 1.0, scale: int = 1) -> Network:
    """Return an untrained network.

    Parameters
    ----------
    kind : str
        The network, a key of `NETWORKS`.
    width : float
        Factor on all channel counts.
    scale : int
        Of the unfolding network, see there; the factor of "gpemsr"; else 1.

    Raises
    ------
    InputError
        If width or scale make no sense.
    """
    if kind == "unfolding":
        return UnfoldingNetwork(width, scale)
    if kind == "gpemsr":
        return GpemsrNetwork(scale, size_of_width(width))
    return NETWORKS[kind](width)


def save_weights(
    path: str | Path, network: nn.Module, info: WeightsInfo, dtype: torch.dtype = torch.float16
) -> None:
    """Write the weights of a network, atomically.

    Parameters
    ----------
    path : str or Path
        The file to write.
    network : Module
        One of the networks.
    info : WeightsInfo
        Goes into the header; its sha256 is computed here.
    dtype : torch.dtype
        Of the convolution weights on disk.  The statistics of batch norm stay
        float32: half precision cannot hold their range.

    Raises
    ------
    WeightsError
        If a weight is not finite in `dtype`.
    StackError
        If the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in _own_state(network).items():
        kept = torch.float32 if "running_" in name else dtype
        tensors[name] = value.detach().to("cpu", kept).contiguous()
        if not bool(torch.isfinite(tensors[name]).all()):
            raise WeightsError(
                f"The {info.kind} weights are not finite ({name}): the training diverged; "
                "use a smaller learning rate."
            )
    write_bytes(path, save(tensors, metadata=info._to_header(_sha256(tensors))))


def load(kind: str, path: str | Path | None = None, device: torch.device | str = "cpu") -> Network:
    """Return a network with its weights, ready for use.

    Parameters
    ----------
    kind : str
        The network.
    path : str or Path, optional
        A weights file, or a folder with a set; the weights that come with the
        package if not given.
    device : torch.device or str
        Where the network goes.

    Returns
    -------
    Network
        float32, in evaluation mode, without gradients.

    Raises
    ------
    InputError
        If there is no such kind.
    WeightsError
        If the file is missing, damaged or made for another network.
    """
    file = _file_of(kind, path)
    tensors, info = _read(file, kind)
    try:
        network = new_network(kind, info.width, info.scale)
        wanted = _own_state(network)
        fits = wanted.keys() == tensors.keys() and all(
            wanted[name].shape == tensors[name].shape for name in wanted
        )
    except InputError:
        fits = False
    if not fits:
        raise WeightsError(
            f"The weights in {file} do not fit the {kind} network of this version: "
            "use weights made for it, or train again with sff-napari-train."
        )
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    network.requires_grad_(False)
    # Convolutions of few channels are faster with the channels of a pixel side by side.
    if not isinstance(network, GpemsrNetwork):  # it also mixes slices, in three dimensions
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().to(device)


def info(kind: str, path: str | Path | None = None) -> WeightsInfo:
    """Return what a weights file says about itself; parameters and errors as in `load`."""
    return _read(_file_of(kind, path), kind)[1]


def named(path: str | Path | None) -> Path | None:
    """Return the file or folder that is meant; ``"free"`` names a set of the package's own.

    None, for the bundled weights, stays None.
    """
    if path is None:
        return None
    place = Path(path)
    return BUNDLED / FREE if str(path) == FREE and not place.exists() else place


def own_or_bundled(kind: str, folder: Path | None) -> Path | None:
    """Return the folder, or None for the bundled weights if it lacks this network.

    A folder with the paper's three networks says nothing about filling.  The
    free set is never mixed with the bundled one.
    """
    if folder == BUNDLED / FREE:
        return folder
    if folder is not None and folder.is_dir() and not (folder / f"{kind}.safetensors").is_file():
        return None
    return folder


def digest(kind: str, path: str | Path | None = None) -> str:
    """Return the SHA-256 of the weights, to record which ones made a result.

    Parameters and errors as in `load`; 64 hexadecimal digits that depend on the
    tensors alone, not on the header.
    """
    return info(kind, path).sha256


def _own_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state that matters: batch norm's counter of batches is not used here."""
    return {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _file_of(kind: str, path: str | Path | None) -> Path:
    if kind not in NETWORKS and kind not in UNBUNDLED:
        raise InputError(f"There is no network {kind!r}: use one of {', '.join(NETWORKS)}.")
    place = named(path) or BUNDLED
    file = place / f"{kind}.safetensors" if place.is_dir() or path is None else place
    if file.is_file():
        return file
    if path is None and kind in NOT_BUNDLED:
        raise WeightsError(
            f"Weights of {kind} do not come with sff-napari: train them with sff-napari-train "
            f"--for {NOT_BUNDLED[kind]} --stages {kind}, and give their folder."
        )
    if path is None:
        raise WeightsError(
            f"This installation has no {kind} weights: reinstall sff-napari, "
            "or give the folder of weights made by sff-napari-train."
        )
    if place == BUNDLED / FREE:
        raise WeightsError(
            f"The free weights hold no {kind} network: use the default methods, "
            "or give the folder of weights made by sff-napari-train."
        )
    raise WeightsError(
        f"There are no {kind} weights at {file}: give a .safetensors file "
        "or a folder that holds it."
    )


def _read(file: Path, kind: str) -> tuple[dict[str, Tensor], WeightsInfo]:
    try:
        with safe_open(file, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"The weights file {file} is damaged or not a safetensors file: "
            "copy or download it again."
        ) from error
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"The file {file} was not written by sff-napari-train: it holds other weights."
        )
    if header.get("kind") != kind:
        raise WeightsError(
            f"The file {file} holds the {header.get('kind')} network, not the {kind} network."
        )
    if header.get("architecture") != ARCHITECTURE:
        raise WeightsError(
            f"The weights in {file} are for version {header.get('architecture')} of the networks, "
            f"this package has version {ARCHITECTURE}: use weights made for it, or train again."
        )
    if header.get("sha256") != _sha256(tensors):
        raise WeightsError(
            f"The weights in {file} are not what was written (checksum differs): "
            "copy or download the file again."
        )
    try:
        found = WeightsInfo(
            kind=kind,
            width=float(header["width"]),
            scale=int(header.get("scale", "1")),
            data=header.get("data", ""),
            seed=int(header.get("seed", "0")),
            scores=json.loads(header.get("scores", "{}")),
            architecture=ARCHITECTURE,
            version=header.get("version", ""),
            sha256=header["sha256"],
        )
    except (KeyError, ValueError) as error:
        raise WeightsError(f"The header of the weights file {file} cannot be read.") from error
    return tensors, found


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of names, types, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
