"""Make the built-in weights: every step in order, skipping what is already done.

Examples:
  python -m training              everything that is not done yet
  python -m training sd3 turbo    these steps alone, if they are not done
  python -m training adopt        start from what is shipped: only data, the longer run and what follows are left
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from training import adopt, autoencoder, card, export, latents, quality, sd3, text, tokenizer, turbo, unet, world
from training.sources import work

#: Step → what it does and what is there when it is done. Delete that to have it done anew.
STEPS: dict[str, tuple[Callable[[], None], str]] = {
    "world": (world.build, "pictures.pt"),
    "tokenizer": (tokenizer.build, "tokenizer"),
    "text_encoder": (partial(text.train, "text_encoder"), "text_encoder"),
    "text_encoder_2": (partial(text.train, "text_encoder_2"), "text_encoder_2"),
    **{name: (partial(text.train_wider, name), name) for name in text.WIDE},
    "texts": (latents.build_texts, latents.TEXTS),
    "texts-wide": (latents.build_wide_texts, latents.WIDE_TEXTS),
    "vae-sd3": (partial(autoencoder.train, "sd3"), "vae-sd3"),
    "vae-sd15": (partial(autoencoder.train, "sd15"), "vae-sd15"),
    "latents-sd3": (partial(latents.build_latents, "sd3"), "latents-sd3.pt"),
    "latents-sd15": (partial(latents.build_latents, "sd15"), "latents-sd15.pt"),
    "sd3": (sd3.train, "sd3"),
    sd3.LONG: (sd3.train_longer, sd3.LONG),
    "turbo": (turbo.train, "turbo"),
    "sd15": (unet.train, "sd15"),
    unet.LONG: (unet.train_longer, unet.LONG),
    "decoder-sd3": (partial(autoencoder.finish, "sd3"), "decoder-sd3"),
    "decoder-sd15": (partial(autoencoder.finish, "sd15"), "decoder-sd15"),
    "reference": (quality.build_reference, "reference"),
    "export": (export.write, "exported"),
    "card": (card.write, "card"),
}


def main(names: list[str]) -> None:
    """Do the named steps, or all."""
    if unknown := [name for name in names if name not in {"adopt", *STEPS}]:
        raise SystemExit(f"no step {', '.join(unknown)}; there are: {', '.join(STEPS)}")
    if names == ["adopt"]:
        adopt.fill()
        names = []
    for name in names or STEPS:
        make, made = STEPS[name]
        if work(made).exists():
            print(f"{name}: done")
            continue
        print(f"{name}: …")
        make()


if __name__ == "__main__":
    main(sys.argv[1:])
