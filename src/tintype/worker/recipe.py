"""A recipe: everything that is needed to make a picture again, kept in the picture's own file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from tintype import __version__
from tintype.catalog.order import Order
from tintype.catalog.samples import sample_path
from tintype.errors import BadPicture


@dataclass(frozen=True)
class Recipe:
    """How one picture was made; what a request for several holds of each."""

    model: str
    #: The order for this picture alone. Its `image` is a sample's path or empty: a caller's own is not passed on.
    order: Order
    #: Fingerprint of the weights.
    weights: str
    #: Arithmetic of the model: float32 or bfloat16.
    dtype: str
    #: SHA-256 of the decoded input picture, empty for text-to-image.
    source: str
    version: str = __version__

    def of(self, seed: int) -> Recipe:
        """The recipe of the request's picture with this seed."""
        return replace(self, order=replace(self.order, seed=seed))

    def json(self) -> dict[str, Any]:
        """As it is written into files and answers."""
        return asdict(self)

    def text(self) -> str:
        """The same as one line."""
        return json.dumps(self.json(), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Recipe:
        """From a file's text; raises BadPicture when it is no recipe, or another version's."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "order": Order(**fields["order"])})
        except (ValueError, TypeError, KeyError) as error:
            raise BadPicture("the picture carries no recipe that this version of tintype can read") from error


def recipe(model: str, order: Order, picture: Image.Image | None, weights: str, dtype: str) -> Recipe:
    """The recipe of a request; `of` then gives that of each of its pictures."""
    own = replace(order, count=1, base64=False, image=sample_path(order.image) or "")
    return Recipe(model, own, weights, dtype, digest(picture))


def digest(picture: Image.Image | None) -> str:
    """SHA-256 of a picture's pixels and size: the same picture in another file format is the same."""
    return "" if picture is None else hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
