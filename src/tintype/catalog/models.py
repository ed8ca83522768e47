"""The models that every server has: the contract's, exactly as it lists them, then ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tintype.catalog import parameters as p
from tintype.catalog.samples import LANDSCAPE, LANDSCAPE_MASK, PORTRAIT, SUBJECT
from tintype.catalog.spec import Alias, Catalogue, ModelSpec, Source, Tariff
from tintype.families.sd3 import SD3
from tintype.families.sd15 import SD15
from tintype.families.sdxl import SDXL

#: Repository and commit of two models' weights.
MEDIUM = "stabilityai/stable-diffusion-3-medium-diffusers"
MEDIUM_COMMIT = "ea42f8cef0f178587cf766dc8129abd379c90671"
COMMUNITY = "Stability AI Community License: free below a yearly revenue of 1 M$"
#: Where weights are published that several models draw with.
SD15_SOURCE = Source(
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "CreativeML Open RAIL-M",
    gated=False,
    size=2_100_000_000,
)
#: The published fp16 copies.
SDXL_SOURCE = Source(
    "stabilityai/stable-diffusion-xl-base-1.0",
    "462165984030d82259a11f4367a4eed129e94a7b",
    "CreativeML Open RAIL++-M",
    gated=False,
    size=6_900_000_000,
)
MEDIUM_SOURCE = Source(MEDIUM, MEDIUM_COMMIT, COMMUNITY, gated=True, size=15_500_000_000)

SD15_IMG2IMG = ModelSpec(
    slug="sd1.5-img2img",
    title="Stable Diffusion 1.5 image to image",
    description="Redraws an image after a prompt with Stable Diffusion 1.5 and any of twelve schedulers.",
    family=SD15.name,
    source=SD15_SOURCE,
    tariff=Tariff(3_700),
    typical_seconds=7.7,
    parameters=(
        p.image(),
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", ""),
        p.count("samples", 4),
        p.diffusers_scheduler(),
        p.steps("num_inference_steps", 20, 20, 100),
        p.guidance(7.5, 0.1, 25),
        p.strength(1, 0.1),
        p.seed(-1),
        p.choice("img_width", "The image's width in pixels.", (512, 768), 512, means="width", group="size"),
        p.choice("img_height", "The image's height in pixels.", (512, 768), 512, means="height", group="size"),
        p.base64(),
        p.exact(),
    ),
    example={
        "image": LANDSCAPE.path,
        "samples": 1,
        "prompt": "A fantasy landscape, trending on artstation, mystical sky",
        "negative_prompt": "nude, disfigured, blurry",
        "scheduler": "DDIM",
        "num_inference_steps": 25,
        "guidance_scale": 10.5,
        "strength": 0.75,
        "seed": 98877465625,
        "img_width": 512,
        "img_height": 512,
        "base64": False,
    },
)

SD15_TXT2IMG = ModelSpec(
    slug="sd1.5-txt2img",
    weights_of=SD15_IMG2IMG.slug,
    title="Stable Diffusion 1.5 text to image",
    description="Draws an image from a prompt with Stable Diffusion 1.5 and any of twelve schedulers.",
    family=SD15.name,
    source=SD15_SOURCE,
    tariff=SD15_IMG2IMG.tariff,
    typical_seconds=SD15_IMG2IMG.typical_seconds,
    parameters=(
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", ""),
        p.count("samples", 4),
        p.diffusers_scheduler(),
        p.steps("num_inference_steps", 20, 20, 100),
        p.guidance(7.5, 0.1, 25),
        p.seed(-1),
        p.side("img_width", 512, 256, 1024),
        p.side("img_height", 512, 256, 1024),
        p.base64(),
        p.exact(),
    ),
    example={
        "prompt": "A fantasy landscape, trending on artstation, mystical sky",
        "negative_prompt": "nude, disfigured, blurry",
        "samples": 1,
        "scheduler": "DDIM",
        "num_inference_steps": 25,
        "guidance_scale": 7.5,
        "seed": 98877465625,
        "img_width": 512,
        "img_height": 512,
        "base64": False,
    },
)

SD15_INPAINTING = ModelSpec(
    slug="sd1.5-inpainting",
    weights_of=SD15_IMG2IMG.slug,
    title="Stable Diffusion 1.5 inpainting",
    description="Repaints the part of an image that a mask shows in white, after a prompt, and keeps the rest.",
    family=SD15.name,
    source=SD15_SOURCE,
    tariff=SD15_IMG2IMG.tariff,
    typical_seconds=SD15_IMG2IMG.typical_seconds,
    parameters=(
        p.image(),
        p.mask(),
        p.text("prompt", "What to draw where the mask is white.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", ""),
        p.count("samples", 4),
        p.diffusers_scheduler(),
        p.steps("num_inference_steps", 20, 20, 100),
        p.guidance(7.5, 0.1, 25),
        p.strength(1, 0),
        p.seed(-1),
        p.choice("img_width", "The image's width in pixels.", (512, 768), 512, means="width", group="size"),
        p.choice("img_height", "The image's height in pixels.", (512, 768), 512, means="height", group="size"),
        p.base64(),
        p.exact(),
    ),
    example={
        "image": LANDSCAPE.path,
        "mask": LANDSCAPE_MASK.path,
        "prompt": "A castle on a hill, trending on artstation, mystical sky",
        "negative_prompt": "nude, disfigured, blurry",
        "samples": 1,
        "scheduler": "DDIM",
        "num_inference_steps": 25,
        "guidance_scale": 7.5,
        "strength": 1,
        "seed": 98877465625,
        "img_width": 512,
        "img_height": 512,
        "base64": False,
    },
)

SDXL_TXT2IMG = ModelSpec(
    slug="sdxl1.0-txt2img",
    title="Stable Diffusion XL 1.0 text to image",
    description="Draws an image from a prompt with Stable Diffusion XL and any of twelve schedulers.",
    family=SDXL.name,
    source=SDXL_SOURCE,
    tariff=Tariff(8_000),
    typical_seconds=6.3,
    parameters=(
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", ""),
        p.choice("style", "The image's style.", ("base",), "base", group="prompt"),
        p.count("samples", 4),
        p.diffusers_scheduler("UniPC"),
        p.steps("num_inference_steps", 25, 20, 100),
        p.guidance(7.5, 1, 25),
        p.refiner_strength(),
        p.high_noise_fraction(),
        p.seed(-1),
        p.side("img_width", 1024, 512, 2048),
        p.side("img_height", 1024, 512, 2048),
        p.refiner(),
        p.base64(),
        p.exact(),
    ),
    example={
        "prompt": "A film still of a panda in a blue spacesuit, sitting in a bar, golden hour",
        "negative_prompt": "ugly, tiling, poorly drawn hands, blurry",
        "style": "base",
        "samples": 1,
        "scheduler": "UniPC",
        "num_inference_steps": 25,
        "guidance_scale": 7.5,
        "strength": 0.2,
        "high_noise_fraction": 0.8,
        "seed": 468685,
        "img_width": 1024,
        "img_height": 1024,
        "refiner": False,
        "base64": False,
    },
)

SDXL_IMG2IMG = ModelSpec(
    slug="sdxl-img2img",
    weights_of=SDXL_TXT2IMG.slug,
    title="Stable Diffusion XL image to image",
    description="Redraws an image after a prompt with Stable Diffusion XL, at the input image's size.",
    family=SDXL.name,
    source=SDXL_SOURCE,
    tariff=SDXL_TXT2IMG.tariff,
    typical_seconds=SDXL_TXT2IMG.typical_seconds,
    parameters=(
        p.image(),
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", ""),
        p.count("samples", 4),
        p.diffusers_scheduler("UniPC"),
        p.steps("num_inference_steps", 30, 20, 100),
        p.guidance(6.5, 1, 25),
        p.strength(0.65, 0),
        p.seed(-1),
        p.base64(),
        p.exact(),
    ),
    example={
        "image": LANDSCAPE.path,
        "prompt": "A fantasy landscape, trending on artstation, mystical sky",
        "negative_prompt": "nude, disfigured, blurry",
        "samples": 1,
        "scheduler": "UniPC",
        "num_inference_steps": 30,
        "guidance_scale": 6.5,
        "strength": 0.65,
        "seed": 98877465625,
        "base64": False,
    },
)

SD3_MEDIUM_IMG2IMG = ModelSpec(
    slug="sd3-med-img2img",
    title="Stable Diffusion 3 Medium image to image",
    description="Redraws an image after a prompt with Stable Diffusion 3 Medium, at the input image's size.",
    family=SD3.name,
    source=MEDIUM_SOURCE,
    tariff=Tariff(7_600),
    typical_seconds=7.4,
    parameters=(
        p.image(PORTRAIT.path),
        p.text("prompt", "What to draw.", "photo of a boy holding phone on table,3d pixar style", required=True),
        p.text("negative_prompt", "What to keep out of the image.", "low quality,less details"),
        p.steps("num_inference_steps", 20, 1, 100),
        p.guidance(5, 1, 20),
        p.seed(698845),
        p.count("samples", 4),
        p.strength(0.7, 0),
        p.sampler(),
        p.schedule(),
        p.base64(),
        p.exact(),
    ),
    example={
        "prompt": "photo of a boy holding phone on table,3d pixar style",
        "negative_prompt": "low quality,less details",
        "image": PORTRAIT.stands_for,
        "num_inference_steps": 20,
        "guidance_scale": 5,
        "seed": 698845,
        "samples": 1,
        "strength": 0.7,
        "sampler": "dpmpp_2m",
        "scheduler": "sgm_uniform",
        "base64": False,
    },
)

SD3_MEDIUM_TXT2IMG = ModelSpec(
    slug="sd3-med-txt2img",
    weights_of=SD3_MEDIUM_IMG2IMG.slug,
    title="Stable Diffusion 3 Medium text to image",
    description="Draws an image from a prompt with Stable Diffusion 3 Medium.",
    family=SD3.name,
    source=MEDIUM_SOURCE,
    tariff=SD3_MEDIUM_IMG2IMG.tariff,
    typical_seconds=SD3_MEDIUM_IMG2IMG.typical_seconds,
    parameters=(
        p.text("prompt", "What to draw.", "photo of a boy holding phone on table,3d pixar style", required=True),
        p.text("negative_prompt", "What to keep out of the image.", "low quality,less details"),
        p.steps("num_inference_steps", 20, 1, 100),
        p.guidance(5, 1, 20),
        p.seed(698845),
        p.count("samples", 4),
        p.sampler(),
        p.schedule(),
        p.side("img_width"),
        p.side("img_height"),
        p.base64(),
        p.exact(),
    ),
    example={
        "prompt": "photo of a boy holding phone on table,3d pixar style",
        "negative_prompt": "low quality,less details",
        "num_inference_steps": 20,
        "guidance_scale": 5,
        "seed": 698845,
        "samples": 1,
        "sampler": "dpmpp_2m",
        "scheduler": "sgm_uniform",
        "img_width": 1024,
        "img_height": 1024,
        "base64": False,
    },
)

SD3_TURBO_IMG2IMG = ModelSpec(
    slug="stable-diffusion-3-turbo-img2img",
    title="Stable Diffusion 3 Turbo image to image",
    description="Redraws an image after a prompt in four steps, without guidance, at the input image's size.",
    family=SD3.name,
    few_steps=True,
    source=replace(MEDIUM_SOURCE, needs_lora=True),
    tariff=Tariff(80_000),
    typical_seconds=10.5,
    parameters=(
        p.choice("mode", "The kind of task.", ("image-to-image",), "image-to-image", required=True),
        p.image(SUBJECT.path),
        p.text("prompt", "What to draw.", ""),
        p.strength(1, 0),
        p.seed(-1),
        p.file_format("output_format", "jpeg", "png"),
        p.base64(),
        p.exact(),
    ),
    fixed={"steps": 4, "guidance": 1.0, "sampler": "euler", "schedule": "sgm_uniform"},
    example={
        "mode": "image-to-image",
        "image": SUBJECT.stands_for,
        "prompt": "cyberpunk style frog, dark colors",
        "strength": 1,
        "output_format": "jpeg",
        "base64": False,
    },
)

SD35_TURBO_TXT2IMG = ModelSpec(
    slug="stable-diffusion-3.5-turbo-txt2img",
    title="Stable Diffusion 3.5 Large Turbo text to image",
    description="Draws an image from a prompt with Stable Diffusion 3.5 Large Turbo, in four steps by default.",
    family=SD3.name,
    few_steps=True,
    source=Source(
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "ec07796fc06b096cc56de9762974a28f4c632eda",
        COMMUNITY,
        gated=True,
        size=27_600_000_000,
    ),
    tariff=Tariff(3_500),
    typical_seconds=4.8,
    parameters=(
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the image.", "low quality, blurry"),
        p.sampler(),
        p.schedule(),
        # The vendor's page says 10–70 and defaults to 4: both must pass.
        p.steps("steps", 4, 1, 70),
        p.guidance(1, 1, 15),
        p.seed(98552302),
        p.side("width", when="; used when aspect_ratio is custom"),
        p.side("height", when="; used when aspect_ratio is custom"),
        p.choice(
            "aspect_ratio",
            "Shape of the image; overrides width and height.",
            p.ASPECT_RATIOS,
            "custom",
            group="size",
        ),
        p.count("batch_size", 10),
        p.file_format("image_format", "jpeg", "png", "webp"),
        p.quality(),
        p.base64(),
        p.exact(),
    ),
    example={
        "prompt": (
            "A panda in a glowing tech-infused jacket, standing in front of a bustling cyberpunk market, his T-shirt "
            "displaying 'Segmind'. Neon lights illuminate his face, with a futuristic cityscape behind him. "
            "Reflections shimmer on the wet pavement."
        ),
        "negative_prompt": "low quality, blurry",
        "steps": 4,
        "guidance_scale": 1,
        "seed": 98552302,
        "sampler": "dpmpp_2m",
        "scheduler": "sgm_uniform",
        "width": 1024,
        "height": 1024,
        "aspect_ratio": "custom",
        "batch_size": 1,
        "image_format": "jpeg",
        "image_quality": 95,
        "base64": False,
    },
)

MODELS = Catalogue(
    (
        SD15_IMG2IMG,
        SD3_MEDIUM_IMG2IMG,
        SD3_TURBO_IMG2IMG,
        SD35_TURBO_TXT2IMG,
        SD15_TXT2IMG,
        SD3_MEDIUM_TXT2IMG,
        SD15_INPAINTING,
        SDXL_TXT2IMG,
        SDXL_IMG2IMG,
    ),
    aliases={"default": Alias(generate=SD35_TURBO_TXT2IMG.slug, edit=SD3_MEDIUM_IMG2IMG.slug)},
)

#: Where models' own weights are published, by slug.
SOURCES: Mapping[str, Source] = {slug: spec.source for slug, spec in MODELS.items() if spec.source}
