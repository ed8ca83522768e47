"""What every tier needs: one place for the toy weights, built once per machine and run."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for the toy weights that all of pytest-xdist's processes share."""
    own = tmp_path_factory.getbasetemp()
    # With xdist each process has its own base below the run's common one.
    base = own.parent if own.name.startswith("popen-") else own
    return base / "weights"
