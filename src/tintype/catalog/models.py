"""The models that every server has, exactly as the contract lists them."""

from __future__ import annotations

from tintype.catalog import parameters as p
from tintype.catalog.samples import LANDSCAPE, PORTRAIT, SUBJECT
from tintype.catalog.spec import Catalogue, ModelSpec, Tariff

SD15_IMG2IMG = ModelSpec(
    slug="sd1.5-img2img",
    title="Stable Diffusion 1.5 image to image",
    description="Redraws a picture after a prompt with Stable Diffusion 1.5 and any of twelve schedulers.",
    family="sd15",
    tariff=Tariff(3_700),
    typical_seconds=7.7,
    parameters=(
        p.image(),
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the picture.", ""),
        p.count("samples", 4),
        p.choice("scheduler", "The sampling method.", p.SD15_SCHEDULERS, "DDIM", means="sampler", group="method"),
        p.steps("num_inference_steps", 20, 20, 100),
        p.guidance(7.5, 0.1, 25),
        p.strength(1, 0.1),
        p.seed(-1),
        p.choice("img_width", "The picture's width in pixels.", (512, 768), 512, means="width", group="size"),
        p.choice("img_height", "The picture's height in pixels.", (512, 768), 512, means="height", group="size"),
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

SD3_MEDIUM_IMG2IMG = ModelSpec(
    slug="sd3-med-img2img",
    title="Stable Diffusion 3 Medium image to image",
    description="Redraws a picture after a prompt with Stable Diffusion 3 Medium, at the input picture's size.",
    family="sd3",
    tariff=Tariff(7_600),
    typical_seconds=7.4,
    parameters=(
        p.image(PORTRAIT.path),
        p.text("prompt", "What to draw.", "photo of a boy holding phone on table,3d pixar style", required=True),
        p.text("negative_prompt", "What to keep out of the picture.", "low quality,less details"),
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

SD3_TURBO_IMG2IMG = ModelSpec(
    slug="stable-diffusion-3-turbo-img2img",
    title="Stable Diffusion 3 Turbo image to image",
    description="Redraws a picture after a prompt in four steps, without guidance, at the input picture's size.",
    family="sd3",
    few_steps=True,
    tariff=Tariff(80_000),
    typical_seconds=10.5,
    parameters=(
        p.choice("mode", "The kind of task.", ("image-to-image",), "image-to-image", required=True),
        p.image(SUBJECT.path),
        p.text("prompt", "What to draw.", ""),
        p.strength(1, 0),
        p.seed(-1),
        p.choice("output_format", "The picture's file format.", ("jpeg", "png"), "jpeg", means="format"),
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
    description="Draws a picture from a prompt with Stable Diffusion 3.5 Large Turbo, in four steps by default.",
    family="sd3",
    few_steps=True,
    tariff=Tariff(3_500),
    typical_seconds=4.8,
    parameters=(
        p.text("prompt", "What to draw.", required=True),
        p.text("negative_prompt", "What to keep out of the picture.", "low quality, blurry"),
        p.sampler(),
        p.schedule(),
        # The vendor's page says 10–70 and defaults to 4: both must pass.
        p.steps("steps", 4, 1, 70),
        p.guidance(1, 1, 15),
        p.seed(98552302),
        p.side("width"),
        p.side("height"),
        p.choice(
            "aspect_ratio",
            "Shape of the picture; overrides width and height.",
            p.ASPECT_RATIOS,
            "custom",
            group="size",
        ),
        p.count("batch_size", 10),
        p.choice("image_format", "The picture's file format.", ("jpeg", "png", "webp"), "jpeg", means="format"),
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

MODELS = Catalogue((SD15_IMG2IMG, SD3_MEDIUM_IMG2IMG, SD3_TURBO_IMG2IMG, SD35_TURBO_TXT2IMG))
