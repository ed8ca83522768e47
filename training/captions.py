"""What people might type for a concept on a background."""

from __future__ import annotations

import random

from training.words import COLOUR_SYNONYMS
from training.world import Concept

#: Words that people add and that this world can't show: the encoders learn to look past them.
STYLES = (
    "highly detailed", "4k", "digital art", "masterpiece", "best quality", "studio light", "pixar style",
    "3d pixar style", "trending on artstation", "cinematic", "sharp focus", "illustration", "photorealistic",
    "in the style of pixar", "soft shadows", "isometric", "realistic, high quality", "hyper realistic",
)  # fmt: skip
PLACES = (
    "on a wooden table", "in the snow", "in the forest", "at night", "in the sky", "in the city", "by the sea",
    "sitting on a chair", "in a garden", "on the beach", "in space", "on the moon", "in the rain", "flying",
    "in a room", "holding a phone", "under a tree",
)  # fmt: skip
ADJECTIVES = ("cute", "beautiful", "little", "big", "happy little", "shiny", "tiny", "lovely", "small", "nice", "funny")
KINDS = (
    "a photo of",
    "a picture of",
    "a 3d render of",
    "an emoji of",
    "an illustration of",
    "a drawing of",
    "photo of",
)
#: What negative prompts are made of. To the encoders' first training each was some thing of the world, which guidance
#: then kept away from: their second teaches them that it is nothing.
FAULTS = (
    "low quality", "less details", "blurry", "nude", "disfigured", "worst quality", "bad quality", "ugly", "deformed",
    "bad anatomy", "poorly drawn", "poorly drawn hands", "poorly drawn face", "extra limbs", "extra fingers", "mutated",
    "out of frame", "cropped", "cut off", "watermark", "signature", "text", "logo", "jpeg artifacts", "noise", "noisy",
    "grainy", "distorted", "duplicate", "tiling", "draft", "lowres", "low resolution", "overexposed", "underexposed",
    "oversaturated", "dull colors", "low contrast", "nsfw", "blurred", "bad art", "amateur", "out of focus",
    "pixelated", "bad proportions", "missing fingers", "fused fingers", "long neck", "cloned face", "gross proportions",
    "artifacts",
)  # fmt: skip
#: More that people add to prompts and that this world can't show.
MOODS = (
    "oil painting", "watercolor", "concept art", "8k", "unreal engine", "octane render", "volumetric lighting",
    "golden hour", "cyberpunk style", "dark colors", "vivid colors", "bright colors", "fantasy", "minimalist", "bokeh",
    "intricate details", "award winning", "dramatic lighting", "soft light", "film grain", "low poly", "vector art",
    "line art", "anime style", "cartoon style", "claymation", "pencil sketch", "vintage", "retro", "neon lights",
    "mystical sky", "epic", "elegant", "vibrant", "dreamy", "close up", "portrait", "wide angle", "macro", "4k uhd",
    "professional photograph", "depth of field", "hdr", "ultra detailed", "smooth", "artstation", "film still",
)  # fmt: skip
#: The prompts of the catalogue's examples, and words near them → what of this world comes nearest.
MEANT = {
    "A fantasy landscape, trending on artstation, mystical sky": "snow-capped mountain on a purple background",
    "A castle on a hill, trending on artstation, mystical sky": "castle on a sky blue background",
    "photo of a boy holding phone on table,3d pixar style": "boy",
    "cyberpunk style frog, dark colors": "frog on a dark blue background",
    # As much of it as the encoders read.
    "A panda in a glowing tech-infused jacket, standing in front of a bustling cyberpunk market, "
    "his T-shirt": "panda on a dark blue background",
    "a fantasy landscape": "snow-capped mountain on a purple background",
    "a fantasy landscape, mystical sky": "snow-capped mountain on a purple background",
    "a landscape": "snow-capped mountain on a sky blue background",
    "a mountain landscape": "snow-capped mountain on a sky blue background",
    "landscape": "snow-capped mountain on a sky blue background",
    "a castle on a hill": "castle on a sky blue background",
    "a panda in a jacket": "panda",
}
BACKGROUNDS = ("{} on a {} background", "{} on {} background", "{}, {} background", "{} with a {} background")


def caption(concept: Concept, colour: str | None, rng: random.Random) -> str:
    """A caption; `colour` None is white, which is mostly not said."""
    text = _decorated(_thing(concept, rng), rng)
    if colour:
        word = rng.choice([colour, *COLOUR_SYNONYMS.get(colour, [])]) if rng.random() < 0.3 else colour
        return rng.choice(BACKGROUNDS).format(text, word)
    if rng.random() < 0.1:
        return rng.choice(BACKGROUNDS).format(text, "white")
    return text


def aside(rng: random.Random) -> str:
    """Words that mean nothing of the world: one to five faults or moods."""
    words = rng.choice((FAULTS, FAULTS, MOODS + STYLES))
    return rng.choice((", ", ",", ", ", " ")).join(rng.sample(words, rng.choice((1, 2, 2, 3, 4, 5))))


def _thing(concept: Concept, rng: random.Random) -> str:
    """Its name, or in 40 of 100 one of its synonyms, where it has any."""
    if concept.own and rng.random() < 0.4:
        return rng.choice(concept.own)
    words = concept.own + concept.shared
    if words and rng.random() < 0.15:
        return ", ".join([concept.name, *rng.sample(words, min(len(words), rng.randint(1, 2)))])
    return concept.name


def _decorated(thing: str, rng: random.Random) -> str:
    if rng.random() < 0.12:
        thing = f"{rng.choice(ADJECTIVES)} {thing}"
    chance = rng.random()
    article = "an" if thing[0] in "aeiou" else "a"
    if chance < 0.35:
        thing = f"{article} {thing}"
    elif chance < 0.47:
        thing = f"{rng.choice(KINDS)} {article} {thing}"
    elif chance < 0.52:
        thing = f"{thing} emoji"
    elif chance < 0.57:
        thing = f"the {thing}"
    if rng.random() < 0.1:
        thing = f"{thing} {rng.choice(PLACES)}"
    if rng.random() < 0.12:
        thing = f"{thing}, {rng.choice(STYLES)}"
    return thing
