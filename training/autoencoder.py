"""The autoencoders: AutoencoderTiny, factor 8, with 16 latent channels for SD 3 and 4 for SD 1.5."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from PIL import Image

from training.hyper import AUTOENCODERS, DECODER, PHOTOGRAPHS, SEED, SIZE, AutoencoderRun
from training.run import Run
from training.sheets import save_sheet
from training.sources import packed, work
from training.words import COLOURS, WHITE
from training.world import Colour, Place, World

#: Brightness and two axes of opponent colours: errors of hue, which plain RGB hides, count as much as of brightness.
OPPONENT = 1.5 * torch.tensor([[0.299, 0.587, 0.114], [-0.5, -0.1, 0.6], [0.6, -0.5, -0.1]])
HELD_OUT_SEED = 42


class Crops:
    """Random crops of renderings and photographs."""

    def __init__(self, world: World, crop: int, photographs: float, rng: random.Random) -> None:
        self.world = world
        self.crop = crop
        self.share = photographs
        self.rng = rng
        files = packed("photographs", (".png", ".jpg"))
        by_name = {path.rpartition("/")[2]: data for path, data in files.items()}
        self.photographs = [_photograph(by_name[name]) for name in PHOTOGRAPHS]

    def draw(self, count: int) -> torch.Tensor:
        """(count, 3, crop, crop) in [-1, 1]."""
        crops = [self._photograph() if self.rng.random() < self.share else self._rendering() for _ in range(count)]
        return torch.stack(crops).contiguous(memory_format=torch.channels_last)

    def _rendering(self) -> torch.Tensor:
        number = self.rng.randrange(len(self.world))
        picture = self.world.render(number, _colour(self.rng), Place.draw(self.rng))
        left, top = (round(self.rng.triangular(0, SIZE - self.crop, (SIZE - self.crop) / 2)) for _ in range(2))
        picture = picture[:, top : top + self.crop, left : left + self.crop]
        return picture.flip(-1) if self.rng.random() < 0.5 else picture

    def _photograph(self) -> torch.Tensor:
        photograph = self.rng.choice(self.photographs)
        left = self.rng.randint(0, photograph.shape[2] - self.crop)
        top = self.rng.randint(0, photograph.shape[1] - self.crop)
        return photograph[:, top : top + self.crop, left : left + self.crop]


def train(family: str) -> None:
    """Train a family's autoencoder and write its folder, `vae-{family}`, latents not yet scaled."""
    recipe = AUTOENCODERS[family]
    torch.manual_seed(SEED)
    model = new_model(recipe)
    if recipe.start:
        narrow(load(recipe.start), model)
    _optimise(model, recipe, f"vae-{family}")


def new_model(recipe: AutoencoderRun) -> AutoencoderTiny:
    """An autoencoder, untrained: most of its work at half the resolution and below, where it costs least."""
    return AutoencoderTiny(
        latent_channels=recipe.channels,
        encoder_block_out_channels=(recipe.width,) * 4,
        decoder_block_out_channels=(recipe.width,) * 4,
        num_encoder_blocks=(0, 1, 2, 3),
        num_decoder_blocks=(3, 3, 1, 0),
    )


def narrow(wide: AutoencoderTiny, model: AutoencoderTiny) -> None:
    """Copy an autoencoder into one with fewer latent channels: the wide one's main components, scaled to unit size."""
    with torch.no_grad():
        latents = wide.encoder(held_out(World())).permute(0, 2, 3, 1).flatten(0, 2)
        mean = latents.mean(0)
        _, sizes, axes = torch.pca_lowrank(latents - mean, q=model.config.latent_channels)
        spread = sizes / len(latents) ** 0.5
        into, back = (axes / spread).T, axes * spread
        state = wide.state_dict()
        first, last = "decoder.layers.0", f"encoder.layers.{len(wide.encoder.layers) - 1}"
        state[f"{last}.weight"] = torch.einsum("ij,jkhw->ikhw", into, state[f"{last}.weight"])
        state[f"{last}.bias"] = into @ (state[f"{last}.bias"] - mean)
        # Zero padding around the latents stands for their mean here, and stood for zero there: training mends it.
        state[f"{first}.bias"] = state[f"{first}.bias"] + state[f"{first}.weight"].sum((2, 3)) @ mean
        state[f"{first}.weight"] = torch.einsum("ijhw,jk->ikhw", state[f"{first}.weight"], back)
        model.load_state_dict(state)


def finish(family: str) -> None:
    """Train the decoder further on the encoder as it is, which the denoisers were trained on: `decoder-{family}`."""
    recipe = replace(AUTOENCODERS[family], **DECODER)
    torch.manual_seed(SEED + 1)
    model = load(family).train()
    model.encoder.requires_grad_(False)
    _optimise(model, recipe, f"decoder-{family}")


def _optimise(model: AutoencoderTiny, recipe: AutoencoderRun, name: str) -> None:
    model.to(memory_format=torch.channels_last)
    world = World()
    crops = Crops(world, recipe.crop, recipe.photographs, random.Random(name))
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate, weight_decay=0, betas=(0.9, 0.95))
    unseen = held_out(world)

    def look(tag: str) -> dict[str, float]:
        latents = model.encoder(unseen)
        decoded = model.decoder(latents).clamp(-1, 1)
        save_sheet(torch.cat([unseen[:12], decoded[:12]]), work("sheets", f"{tag}.png"), columns=12)
        mean, std = latents.mean().item(), latents.std().item()
        return {
            "psnr": round(psnr(decoded, unseen), 2), "latent_mean": round(mean, 3), "latent_std": round(std, 3)
        }  # fmt: skip

    run = Run(name, model, [optimiser], recipe.steps, average=0.995, look=look, look_seconds=120)
    for _ in run:
        picture = crops.draw(recipe.batch)
        latents = model.encoder(picture)
        decoded = model.decoder(latents + torch.randn_like(latents) * recipe.noise)
        run.descend(_difference(decoded, picture, recipe.error) + _unit(latents))
    run.show()
    run.averaged().save_pretrained(work(name))


def load(family: str) -> AutoencoderTiny:
    """The autoencoder as far as it is trained."""
    finished = work(f"decoder-{family}")
    return AutoencoderTiny.from_pretrained(finished if finished.exists() else work(f"vae-{family}")).eval()


def held_out(world: World, count: int = 48) -> torch.Tensor:
    """Renderings (count, 3, 128, 128) in places and colours that training never drew."""
    rng = random.Random(HELD_OUT_SEED)
    numbers = rng.sample(range(len(world)), count)
    return torch.stack([world.render(number, _colour(rng), Place.draw(rng)) for number in numbers])


def psnr(decoded: torch.Tensor, wanted: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures (N, 3, H, W) in [-1, 1], averaged over the pictures."""
    error = ((decoded - wanted) / 2).pow(2).mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


def _difference(decoded: torch.Tensor, wanted: torch.Tensor, squared: float) -> torch.Tensor:
    """Distance in opponent colours: of pixels, of edges, and of means over 4 × 4 and 16 × 16 pixels."""
    error = torch.einsum("ij,bjhw->bihw", OPPONENT, decoded - wanted)
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    means = F.avg_pool2d(error, 4).abs().mean() + F.avg_pool2d(error, 16).abs().mean()
    return error.abs().mean() + squared * error.pow(2).mean() + 0.5 * edges + 3 * means


def _unit(latents: torch.Tensor) -> torch.Tensor:
    """Holds each channel near mean 0 and standard deviation 1, and all of them short."""
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    return 0.02 * (mean.pow(2).mean() + (std - 1).pow(2).mean()) + 1e-3 * latents.pow(2).mean()


def _colour(rng: random.Random) -> Colour:
    chance = rng.random()
    if chance < 0.4:
        return WHITE
    if chance < 0.8:
        return rng.choice(list(COLOURS.values()))
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _photograph(data: bytes) -> torch.Tensor:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 320 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1
