"""Every hyper-parameter of the built-in weights, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 1856  # the year of the tintype's patent
#: Pixels of a side that the models are trained at, and draw at.
SIZE = 128
Shape = tuple[int, int]  # width and height
SQUARE: Shape = (SIZE, SIZE)
#: Also trained at, so that a picture that isn't square has no stripes at its ends: about the same area.
OBLONG: tuple[Shape, ...] = ((176, 96), (96, 176), (144, 112), (112, 144))
WORK = Path("training/work")
LOGS = Path("training/logs")
SHIPPED = Path("src/tintype/weights")


@dataclass(frozen=True)
class Download:
    """A package of a registry: where it is, and the base64 SHA-512 that npm publishes for it, or PyPI's hex SHA-256."""

    url: str
    checksum: str


NPM = "https://registry.npmjs.org"
DOWNLOADS = {
    # Microsoft's Fluent emoji, 3D style, MIT: 256 px renders. (Its flags, not Microsoft's, are left out.)
    "pictures": Download(
        f"{NPM}/@lobehub/fluent-emoji-3d/-/fluent-emoji-3d-1.1.0.tgz",
        "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
    ),
    # Names and keywords, MIT.
    "names": Download(
        f"{NPM}/emojibase-data/-/emojibase-data-17.0.0.tgz",
        "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    ),
    "keywords": Download(
        f"{NPM}/emojilib/-/emojilib-4.0.3.tgz",
        "sha512-KbWiYre9aRSaPbHrHZIz9zmoM+21LAsK1VFJtnTh1VCtWE/rNMDviGhQTmselFl95dhqtGlY22iH0leG5BuW0g==",
    ),
    # Sample photographs for the autoencoders; the package's README says nothing of their terms, its docstrings do.
    "photographs": Download(
        "https://files.pythonhosted.org/packages/a5/2a/e71c1a7d90e70da67b88ccc609bd6ae54798d5847369b15d3a8052232f9d/"
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    ),
}
#: Those whose terms skimage/data/_fetchers.py states: public domain or no known restrictions (astronaut, rocket,
#: hubble, ihc), CC0 (chelsea, coffee, retina). Weights made before December 2026 also saw color.png and
#: motorcycle_left.png, of which it states none.
PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "ihc.png", "retina.jpg",
)  # fmt: skip


@dataclass(frozen=True)
class Rendering:
    """Where a concept stands in its picture: drawn at random within these."""

    smallest: float = 0.88  # of the picture's shorter side
    largest: float = 0.94
    #: Of what is left over beside it.
    nearest: float = 0.3
    farthest: float = 0.7


@dataclass(frozen=True)
class TextEncoder:
    """Both text encoders, which differ in their seed."""

    vocabulary: int = 3000
    tokens: int = 24
    width: int = 128
    layers: int = 3
    captions: int = 200  # per concept
    batch: int = 160
    steps: int = 900
    rate: float = 1e-3


@dataclass(frozen=True)
class WiderReading:
    """The encoders' second training: what people write beside a thing changes nothing of what was learned."""

    steps: int = 1200
    rate: float = 6e-4
    #: Rows of a step: captions as they are, captions with words that mean nothing, those words alone, and `MEANT`.
    plain: int = 48
    decorated: int = 40
    nothing: int = 40
    meant: int = 24


@dataclass(frozen=True)
class AutoencoderRun:
    """An autoencoder with so many latent channels."""

    channels: int
    steps: int
    #: The family whose trained autoencoder it starts from; empty for none.
    start: str = ""
    width: int = 48
    batch: int = 6
    crop: int = 64
    rate: float = 2e-3
    noise: float = 0.1  # added to the latents: the decoder must forgive what a denoiser gets wrong
    photographs: float = 0.15  # share of the crops
    error: float = 2.0  # weight of the squared error among the losses


#: The decoder alone, once the encoder is frozen: on whole pictures, and for the squared error above all.
DECODER = {"steps": 1800, "crop": SIZE, "batch": 2, "noise": 0.03, "error": 150.0, "rate": 6e-4, "photographs": 0.05}


AUTOENCODERS = {
    "sd3": AutoencoderRun(channels=16, steps=4400),
    "sd15": AutoencoderRun(channels=4, steps=3200, start="sd3", rate=1e-3),
}


@dataclass(frozen=True)
class Dataset:
    """Renderings of each concept, encoded once before a denoiser is trained."""

    white: int  # on white
    coloured: int  # on each of the other colours
    oblong: int  # of each oblong shape, half of them on white


DATASETS = {"sd3": Dataset(white=6, coloured=1, oblong=2), "sd15": Dataset(white=6, coloured=1, oblong=2)}
#: Share of the batches that are oblong.
OBLONG_SHARE = 0.1
#: Captions of each concept on each colour, and share of the prompts left empty, for guidance.
CAPTIONS = 4
EMPTY_SHARE = 0.1
#: Half of them are, in a second run, one of so many texts that mean nothing.
NOTHING = 100


@dataclass(frozen=True)
class Transformer:
    """The SD 3 type: a rectified flow (Esser et al. 2024), matrices by Muon, the rest by AdamW."""

    width: int = 256
    layers: int = 4
    heads: int = 4
    batch: int = 48
    steps: int = 2640
    matrix_rate: float = 2e-3
    #: Iterations that make a momentum orthogonal: with 3 of the usual 5 a step takes a fifth less time.
    newton_schulz: int = 3
    rate: float = 1.5e-3
    #: Times are the sigmoid of a normal variable of this mean and deviation.
    time_mean: float = 0.2
    time_deviation: float = 1.2
    #: Rows of zeros in T5's place, and how often: diffusers' pipelines put 256 there, we 1.
    zeros: tuple[int, ...] = (1, 77, 256)
    zeros_weights: tuple[float, ...] = (0.97, 0.02, 0.01)
    #: Of the folder's scheduler. At 256 latents a picture needs no shift.
    shift: float = 1.0


#: The transformer's second run, which starts from the first one's average.
LONGER: dict[str, Any] = {"steps": 2400, "matrix_rate": 1.2e-3, "rate": 9e-4}


@dataclass(frozen=True)
class UNet:
    """The SD 1.5 type: v-prediction with zero terminal signal-to-noise ratio (Lin et al. 2023)."""

    channels: tuple[int, ...] = (48, 96, 160)
    heads: int = 4
    groups: int = 16
    batch: int = 32
    steps: int = 4800
    rate: float = 1e-3
    #: Of the guidance above 1: asked for 7.5, the published models' default, it draws with 2.6. With 7.5 itself images
    #: burn out; rescaled (Lin et al. 2024, § 3.4, φ = 0.7 and 1), they have spots on their backgrounds instead.
    guidance_share: float = 0.25


#: The UNet's second run, which starts from the first one's average. The shipped one began as a longer one, and at its
#: 200th and 1,300th step was told to end sooner: on a machine shared by ten, the log's seconds tell nothing.
LONGER_UNET: dict[str, Any] = {"steps": 1900, "rate": 5e-4}


SCHEDULE_V = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
#: Shown while a denoiser is trained.
PROMPTS = (
    "red apple", "a smiling cat face", "rocket", "pizza", "a photo of a dog face", "a house on a sky blue background",
    "robot", "panda on a yellow background", "a hamburger", "unicorn, purple background", "sunflower", "fox",
    "puppy on a green background", "auto", "laughing", "a bicycle", "an octopus on a dark blue background", "crown",
    "a wizard", "hot air balloon", "grand piano, red background", "snowman", "owl on a pink background", "castle",
)  # fmt: skip


@dataclass(frozen=True)
class Turbo:
    """The few-step mode of the SD 3 type: a LoRA that learns the guided teacher's long steps.

    Progressive distillation (Salimans & Ho 2022) with guidance folded in (Meng et al. 2023).
    """

    rank: int = 24
    #: What ships: its main components, so that everything fits into 45 MB; they are 98 % of it.
    shipped_rank: int = 11
    batch: int = 32
    steps: int = 500
    rate: float = 1.5e-3
    #: The teacher's guidance.
    guidance: float = 3.0
    #: Length of the student's steps; a quarter is one of four.
    stride: float = 0.25
    targets: tuple[str, ...] = (
        "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
        "net.0.proj", "net.2", "norm1.linear", "norm1_context.linear",
    )  # fmt: skip
