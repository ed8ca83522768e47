"""The tools of package.json, which `make setup` installs where Node.js is: tests that need one are skipped without it.

`python -m tests.node openapi.json` prints what spectral and redocly say of an OpenAPI document, and exits 1 if they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: No call home, and no word of newer versions: the ones of package-lock.json are meant.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
#: Both read their rules in the repository's root: .spectral.yaml and redocly.yaml. Any problem fails, hints included.
OPENAPI_LINTERS = (("spectral", "lint", "--quiet", "--fail-severity=hint"), ("redocly", "lint", "--format=stylish"))


def tool(name: str) -> str:
    """The path of a tool of package.json; skips the test where it isn't installed."""
    path = ROOT / "node_modules" / ".bin" / name
    if not path.exists():
        pytest.skip(f"{name}: no node_modules; `make setup` makes it where Node.js is")
    return str(path)


def run(command: Sequence[str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool of package.json with arguments; skips the test where it isn't installed."""
    environment = {**os.environ, **QUIET}
    words = [tool(command[0]), *command[1:]]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def openapi_problems(document: bytes | str) -> str:
    """What spectral and redocly say of an OpenAPI document in JSON; empty where they find nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "openapi.json"
        file.write_text(json.dumps(json.loads(document), indent=1), "utf-8")  # problems have lines then
        runs = [run([*linter, str(file)]) for linter in OPENAPI_LINTERS]
    return "\n".join(done.stdout + done.stderr for done in runs if done.returncode)


if __name__ == "__main__":
    found = openapi_problems(Path(sys.argv[1]).read_bytes())
    sys.stdout.write(found)
    sys.exit(bool(found))
