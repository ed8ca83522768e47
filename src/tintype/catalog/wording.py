"""What of a prompt is not understood the way that its writer may think: other programs' marks, texts without effect."""

from __future__ import annotations

import re

from tintype.catalog.parameters import SAMPLERS, SD15_SCHEDULERS
from tintype.catalog.spec import ModelSpec
from tintype.core import GenerationParams

#: Brackets that are meant as they stand, by the rules of the programs that read others.
ESCAPED = re.compile(r"\\[()\[\]]")
#: `(word:1.2)`, `((word))`, `[word]` and `[one:other:0.5]`, as AUTOMATIC1111's web UI reads them. A number behind a
#: colon is a weight where it is small, and not half of a ratio or a time: (16:9), (at 10:30). One pair of round
#: brackets may stand in any sentence. No pattern goes over a text twice: it may be 20,000 brackets.
WEIGHTS = re.compile(
    r"\([^()\[\]:]*(?:[^()\[\]:\d]:\s?[+-]?[0-3]|:\s?[+-]?[0-3]?\.\d+)\s?\)"
    r"|\(\([^()]+\)\)"
    r"|\[[^\[\]\d][^\[\]]*\]"
)
#: `<lora:name:0.8>` of the same, and its kin.
NETWORKS = re.compile(r"<(?:lora|lyco|hypernet|embedding):[^<>]{1,200}>", re.IGNORECASE)


def wording(spec: ModelSpec, order: GenerationParams) -> list[str]:
    """What the caller should know of the texts of a request."""
    texts = {"prompt": order.prompt, "negative_prompt": order.negative_prompt}
    usual = {param.name: param.default for param in spec.parameters}
    own = {name: text for name, text in texts.items() if text and text != usual.get(name)}
    found = [f"{name}: {words}" for name, text in own.items() for words in _marks(spec, text)]
    # Of another package's sampler nobody knows here whether it needs the negative prompt.
    if "negative_prompt" in own and not order.has_negative and order.sampler in (*SAMPLERS, *SD15_SCHEDULERS):
        found.append("negative_prompt: it has no effect at a guidance_scale of 1 or less")
    return found


def _marks(spec: ModelSpec, text: str) -> list[str]:
    plain = ESCAPED.sub("", text)
    found = []
    if WEIGHTS.search(plain):
        found.append("words can't be weighted; the marks, as in (word:1.2), ((word)) or [word], are read as text")
    if NETWORKS.search(plain):
        offered = any(param.name == "loras" for param in spec.parameters)
        instead = "send the parameter loras" if offered else "this model offers no LoRAs"
        found.append(f"<lora:name:1> is read as text; {instead}")
    return found
