"""Check the docstrings of the package, with the settings in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

root = Path(__file__).parent.parent
files = sorted(str(path.relative_to(root)) for path in (root / "src").rglob("*.py"))
command = [sys.executable, "-m", "numpydoc.hooks.validate_docstrings", *files]
sys.exit(subprocess.run(command, cwd=root, check=False).returncode)
