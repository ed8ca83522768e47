"""Whether components fit together, by their configurations: what several families check.

Functions yield misfits, and raise WeightsUnusable for values that no component has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tintype.errors import WeightsUnusable
from tintype.families.spec import Config, Misfit
from tintype.families.training import is_number

#: Sides of images are multiples of this, in pixels.
SIDE = 16


def autoencoder(name: str, vae: Config) -> Iterator[Misfit]:
    """Whether it codes RGB images, and tells the scale of its latents."""
    for key, words in (("in_channels", "takes"), ("out_channels", "gives")):
        if vae[key] != 3:
            yield name, f"it {words} pictures of {shown(vae[key])} channels, and they have 3"
    count(name, vae, "latent_channels")
    if not is_number(vae["scaling_factor"]) or vae["scaling_factor"] == 0:
        yield name, f"its scaling_factor is {shown(vae['scaling_factor'])}, and should be a number other than 0"
    shift = vae.get("shift_factor")
    if shift is not None and not is_number(shift):
        yield name, f"its shift_factor is {shown(shift)}, and should be a number"


def denoiser(
    name: str,
    config: Config,
    autoencoder: str,
    vae: Config,
    unsupported: Mapping[int, str] | None = None,
    allowed: Collection[int] = (),
) -> Iterator[Misfit]:
    """Whether its input and its output are latents.

    unsupported: words for other numbers of input channels. allowed: numbers other than the latents' own.
    """
    latents = f"the latents of {autoencoder} have {vae['latent_channels']}"
    taken = count(name, config, "in_channels")
    if taken != vae["latent_channels"] and taken not in allowed:
        yield name, f"it takes {taken} channels{(unsupported or {}).get(taken, '')}; {latents}"
        return
    given = taken if config["out_channels"] is None else count(name, config, "out_channels")
    if given != vae["latent_channels"]:
        yield name, f"it gives {given} channels; {latents}"


def text(name: str, key: str, config: Config, encoders: Mapping[str, Config]) -> Iterator[Misfit]:
    """Whether a UNet's text is as wide as what the text encoders give, side by side."""
    widths = [count(encoder, own, "hidden_size") for encoder, own in encoders.items()]
    taken = config[key] if isinstance(config[key], list | tuple) else [config[key]]
    if any(one != sum(widths) for one in taken):
        gives = f"what {' and '.join(encoders)} {'gives' if len(widths) == 1 else 'give'} (hidden_size) is"
        width = added(widths) if len(widths) > 1 else widths[0]
        yield name, f"its text ({key}) is {shown(config[key])} wide, and {gives} {width}"


def lengths(first: str, second: str, own: Mapping[str, Config]) -> Iterator[Misfit]:
    """Whether two text encoders take as many tokens."""
    tokens = [count(name, own[name], "max_position_embeddings") for name in (first, second)]
    if len(set(tokens)) > 1:
        yield second, f"it takes {tokens[1]} tokens (max_position_embeddings), and {first} {tokens[0]}"


def unet(name: str, config: Config, inputs: Mapping[str, tuple[str | None, ...]], known: str) -> Iterator[Misfit]:
    """Whether a UNet's inputs are the known ones. inputs: configuration → values; known: these, in words."""
    # The class accepts anything, and fails at the first pass.
    if type(padding := config["downsample_padding"]) is not int:
        yield name, f"its downsample_padding is {shown(padding)}, and should be a whole number"
    for key, allowed in inputs.items():
        if config[key] not in allowed:
            yield name, f"it wants {known}: {key} is {shown(config[key])}"


def sides(name: str, vae: Config, patch: int) -> Iterator[Misfit]:
    """Whether every image's side is a whole number of latents, and of patches of them."""
    kinds = ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels")
    levels = {len(vae[kind]) for kind in kinds if isinstance(vae.get(kind), list | tuple) and vae[kind]}
    if len(levels) != 1:
        yield name, "its configuration doesn't say how many levels it has"
        return
    step = 2 ** min(levels.pop() - 1, SIDE) * patch
    if SIDE % step:
        yield name, f"its latents stand for {step} pixels{'' if patch == 1 else ' a patch'}, and sides are in {SIDE}s"


def count(component: str, config: Config, key: str) -> int:
    """A positive integer of the configuration; raises WeightsUnusable for anything else."""
    found = config.get(key)
    if type(found) is not int or found < 1:
        raise WeightsUnusable(f"component {component}: its {key} is {shown(found)}, and should be a number from 1 on")
    return found


def added(numbers: list[int]) -> str:
    """A sum in words."""
    return f"{' + '.join(map(str, numbers))} = {sum(numbers)}"


def shown(found: object) -> str:
    """A value, shortened."""
    text = repr(found)
    return text if len(text) <= 60 else text[:60] + "…"
