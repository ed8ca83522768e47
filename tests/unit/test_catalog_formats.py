"""A Pillow that lacks a format: it is offered nowhere."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import importlib.util
whole = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "PIL._avif" else whole(name, *rest)

from PIL import Image
from tintype.catalog.models import MODELS
from tintype.errors import BadPicture, InvalidParameter
from tintype.media.images import encode, identify

for spec in MODELS.values():
    assert "avif" not in spec.formats, spec.slug
try:
    MODELS["stable-diffusion-3.5-turbo-txt2img"].parse({"prompt": "a fox", "image_format": "avif"})
except InvalidParameter as error:
    assert "one of jpeg, png, webp" in error.message and "avif," not in error.message, error.message
try:
    encode(Image.new("RGB", (8, 8)), "avif")
except InvalidParameter as error:
    assert "jpeg, png, webp" in error.message, error.message
try:
    identify(bytes(4) + b"ftypavif" + bytes(99), 1000)
except BadPicture as error:
    assert error.message == "an AVIF image was sent; a JPEG, PNG, WebP, GIF, BMP or TIFF image is needed", error.message
print("refused")
"""


def test_without_avif() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("refused\n", "")
