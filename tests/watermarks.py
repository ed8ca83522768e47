"""What happens to images on their way through the net; the watermark is tested and measured after each."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

LANCZOS = Image.Resampling.LANCZOS


def encoded(image: Image.Image, format: str, quality: int) -> Image.Image:
    """As it comes out of a file of that format and quality."""
    file = io.BytesIO()
    image.save(file, format, quality=quality)
    return Image.open(file).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Both sides by that factor, rounded to whole pixels."""
    return image.resize((round(image.width * factor), round(image.height * factor)), LANCZOS)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """That share of each side, from the middle."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def screenshot(image: Image.Image) -> Image.Image:
    """Shown by a page that encodes it anew, caught from a screen of another density, and encoded once more."""
    return encoded(scaled(encoded(image, "JPEG", 80), 0.83), "JPEG", 85)


def noisy(image: Image.Image) -> Image.Image:
    """With noise of a standard deviation of 8 steps."""
    noise = np.random.default_rng(0).normal(0, 8, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


#: All that the mark is to survive in at least 11 of 12 images.
SURVIVED: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda image: image,
    "JPEG 95": lambda image: encoded(image, "JPEG", 95),
    "JPEG 75": lambda image: encoded(image, "JPEG", 75),
    "JPEG 50": lambda image: encoded(image, "JPEG", 50),
    "WebP 80": lambda image: encoded(image, "WEBP", 80),
    "75 % and back": lambda image: scaled(image, 0.75).resize(image.size, LANCZOS),
    "50 % and back": lambda image: scaled(image, 0.5).resize(image.size, LANCZOS),
    "50 %": lambda image: scaled(image, 0.5),
    "crop to 80 %": lambda image: cropped(image, 0.8),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "noisy": noisy,
    "mirrored": ImageOps.mirror,
    "screenshot": screenshot,
}
#: What it survives less often, or not at all.
BEYOND: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "crop to 70 %, screenshot": lambda image: screenshot(cropped(image, 0.7)),
    "crop to 40 %": lambda image: cropped(image, 0.4),
    "turned by 0.3°": lambda image: image.rotate(0.3, Image.Resampling.BICUBIC),
    "turned by 0.5°": lambda image: image.rotate(0.5, Image.Resampling.BICUBIC),
    "turned by 2°": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "3 % wider": lambda image: image.resize((round(1.03 * image.width), image.height), LANCZOS),
    "25 %": lambda image: scaled(image, 0.25),
}
