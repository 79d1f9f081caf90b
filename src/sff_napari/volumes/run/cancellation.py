"""Tell tasks that still run in threads to give up, because the run has ended early."""

from __future__ import annotations

import threading

stopping = threading.Event()
"""Set when a run ends early."""
