"""Clients that run in processes of their own: JavaScript's, and litellm, which can't live with our packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import node

#: What differs from our packages, and what litellm alone needs; `make setup` puts it there.
LITELLM = Path(sys.prefix) / "litellm"
#: No price list from the network.
LITELLM_QUIET = {"PYTHONPATH": str(LITELLM), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}


def javascript(source: str, **environment: str) -> Any:
    """Run an ECMAScript module that imports packages of package.json; what it writes last, a line of JSON.

    environment: beside this process's own, as `process.env.NAME`. Skips the test where Node.js isn't; fails it where
    the program does, with what it wrote to stderr.
    """
    if shutil.which("node") is None or not (node.ROOT / "node_modules").exists():
        pytest.skip("no Node.js, or no node_modules: `make setup` makes it where Node.js is")
    # A program of the command line finds packages from the folder that it runs in.
    return _printed(["node", "--input-type=module", "--eval", source], environment)


def litellm(source: str, **environment: str) -> Any:
    """Run a Python program that imports litellm, as `javascript` runs one."""
    if not LITELLM.exists():
        pytest.skip("no litellm: `make setup` puts it into .venv/litellm")
    return _printed([sys.executable, "-c", source], {**LITELLM_QUIET, **environment})


def _printed(command: Sequence[str], environment: dict[str, str]) -> Any:
    env = {**os.environ, "NO_PROXY": "*", **environment}
    done = subprocess.run(command, cwd=node.ROOT, env=env, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
