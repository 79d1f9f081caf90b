"""Take from zarr what it does not offer in public; no other module imports ``zarr.core``."""

from __future__ import annotations

from zarr.core.array_spec import ArrayConfig
from zarr.core.sync import sync

__all__ = ["ArrayConfig", "sync"]
