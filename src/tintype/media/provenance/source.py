"""What the file of an image says of its making: IPTC's source type, by which it was made, and the XMP packet with it.

The words are IPTC's (cv.iptc.org/newscodes/digitalsourcetype) and C2PA 2's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tintype.core import GenerationParams
from tintype.media.sanitize import READ

#: Drawn by a model, with nothing in it that is not; by a model over something else; by code alone.
SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia"]
#: What the init image was: the image that was edited, or only looked at.
Relationship = Literal["parentOf", "inputTo"]
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: What begins the superbox of any C2PA manifest, whatever file it is in.
JUMBF = b"jumb"
#: A packet that is only read has no room to be changed in.
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' Iptc4xmpExt:DigitalSourceType="{type}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


@dataclass(frozen=True, slots=True)
class Origin:
    """How an image was made, as far as its file says it without the recipe: no prompt, key, name or address."""

    source_type: SourceType
    #: The model's slug.
    model: str
    #: What the init image was; None for text to image, and for a plain one that the server made.
    relationship: Relationship | None = None
    #: The init image's file, where it may carry manifests, which are kept then.
    parent: bytes | None = None
    #: Whether a watermark was put into its pixels.
    watermarked: bool = False

    @classmethod
    def of(cls, model: str, params: GenerationParams, parent: bytes | None = None) -> Origin:
        """Of an image that a model draws."""
        if params.init is None or params.canvas:
            return cls("trainedAlgorithmicMedia", model)
        # A mask leaves a part of the image as it was, however strong the rest is.
        if params.strength >= 1 and params.input("mask") is None:
            return cls("trainedAlgorithmicMedia", model, "inputTo", parent)
        return cls("compositeWithTrainedAlgorithmicMedia", model, "parentOf", parent)

    @property
    def source_uri(self) -> str:
        """IPTC's name for its source type."""
        return VOCABULARY + self.source_type

    def xmp(self) -> bytes:
        """The packet that says the source type, unsigned."""
        return PACKET.format(type=self.source_uri).encode()


def carrier(data: bytes) -> bytes | None:
    """The file itself if it may carry C2PA manifests, else None."""
    return data if JUMBF in data and content_type(data) else None


def content_type(data: bytes) -> str:
    """Of a file that can carry a manifest; else an empty text."""
    title = next((title for title, pattern in READ.items() if re.match(pattern, data, re.DOTALL)), "BMP")
    return "" if title == "BMP" else f"image/{title.lower()}"
