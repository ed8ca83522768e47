"""The sample images that every server serves, each also in place of the vendor's of the same name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """An image of our own under the file name that the vendor's pages use."""

    path: str
    #: The vendor's address of its image of that name. A request that names it is served ours, so that the
    #: requests printed on the vendor's pages run without the internet.
    stands_for: str = ""
    #: Pixels of each of its sides.
    side: int = 1024


LANDSCAPE = Sample("/sd-img2img-input.jpeg", side=512)
#: Which part of it to repaint.
LANDSCAPE_MASK = Sample("/sd-inpainting-mask.jpeg", side=512)
PORTRAIT = Sample("/sd3-img2img-ip.jpg", "https://segmind-sd-models.s3.amazonaws.com/display_images/sd3-img2img-ip.jpg")
SUBJECT = Sample(
    "/sd3-turbo-i2i-input.jpg", "https://segmind-sd-models.s3.amazonaws.com/display_images/sd3-turbo-i2i-input.jpg"
)
SAMPLES = (LANDSCAPE, LANDSCAPE_MASK, PORTRAIT, SUBJECT)


def find_sample(image: str) -> Sample | None:
    """The sample that an `image` parameter means, by its path or the vendor's address; else None."""
    return next((sample for sample in SAMPLES if image and image in (sample.path, sample.stands_for)), None)


def sample_path(image: str) -> str | None:
    """Its path."""
    sample = find_sample(image)
    return None if sample is None else sample.path
