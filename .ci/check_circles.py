"""Fail if modules import one another in a circle; imports inside functions count."""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter

import grimp


def main() -> int:
    """Print the first circle that is found."""
    graph = grimp.build_graph("sff_napari", exclude_type_checking_imports=True)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        print("Modules import one another in a circle:", " <- ".join(error.args[1]))
        return 1
    print(f"No import circles among {len(imports)} modules.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
