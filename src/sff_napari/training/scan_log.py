"""Keep the log of a training of scans."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Add one row to a CSV file, which is begun with the names of its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row))
    if not path.exists():
        writer.writeheader()
    writer.writerow(row)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
