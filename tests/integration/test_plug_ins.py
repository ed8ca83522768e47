"""A sampler of another package: offered by an entry point, taken by the API's validator, run by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODULE = '''
from tintype.diffusion.image_state import Ask
from tintype.diffusion.samplers.spec import SamplerSpec


def backwards(x, sigmas, space, noise):
    """Euler's method once more."""
    for sigma, following in zip(sigmas, sigmas[1:]):
        d = (yield Ask(x, sigma)).guided
        x = d + following / sigma * (x - d)
    return x


method = SamplerSpec(backwards)
'''
PROGRAM = """
import sys
from tintype.catalog.models import SD35_TURBO_TXT2IMG

asked = SD35_TURBO_TXT2IMG.parse({"prompt": "x", "sampler": "backwards"}).params
listed = SD35_TURBO_TXT2IMG.json_schema()["properties"]["sampler"]["enum"]
assert (listed[0], listed[-1], len(listed)) == ("euler", "backwards", 28), "forms offer it too"
assert "torch" not in sys.modules, "the validator only reads names"
from tintype.diffusion.samplers import find_sampler
print(asked.sampler, find_sampler(asked.sampler).run.__doc__)
"""


def test_a_sampler_of_another_package(tmp_path: Path) -> None:
    (tmp_path / "others_sampler.py").write_text(MODULE)
    info = tmp_path / "others_sampler-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others-sampler\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tintype.samplers]\nbackwards = others_sampler:method\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "backwards Euler's method once more.\n"
