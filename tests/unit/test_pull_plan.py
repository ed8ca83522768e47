"""Which files a pull takes: what a folder needs, once, and nothing that can run code."""

from __future__ import annotations

import pytest

from tintype.catalog.modelfile import ModelEntry
from tintype.catalog.models import SOURCES
from tintype.errors import PullFailed
from tintype.hub.folder import File, format_size
from tintype.hub.plan import SnapshotSpec, pull_plan, pullable_slugs

TURBO = "stable-diffusion-3-turbo-img2img"
#: As `stable-diffusion-v1-5/stable-diffusion-v1-5` has them, with sizes in millions of bytes.
PUBLISHED = {
    "README.md": 0,
    "model_index.json": 0,
    "v1-5-pruned.safetensors": 7700,
    "v1-5-pruned-emaonly.ckpt": 4270,
    "feature_extractor/preprocessor_config.json": 0,
    "safety_checker/model.safetensors": 1216,
    "scheduler/scheduler_config.json": 0,
    "text_encoder/config.json": 0,
    "text_encoder/model.fp16.safetensors": 246,
    "text_encoder/model.safetensors": 492,
    "text_encoder/pytorch_model.bin": 492,
    "tokenizer/merges.txt": 1,
    "tokenizer/vocab.json": 1,
    "unet/config.json": 0,
    "unet/diffusion_pytorch_model.bin": 3440,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1720,
    "unet/diffusion_pytorch_model.non_ema.safetensors": 1700,
    "unet/diffusion_pytorch_model.safetensors": 3440,
    "unet/flax_model.msgpack": 3440,
    "vae/config.json": 0,
    "vae/diffusion_pytorch_model.fp16.safetensors": 167,
    "vae/diffusion_pytorch_model.safetensors": 335,
}
SHARDS = {
    "model_index.json": 0,
    "text_encoder_3/config.json": 0,
    "text_encoder_3/model-00001-of-00002.safetensors": 4995,
    "text_encoder_3/model-00002-of-00002.safetensors": 4530,
    "text_encoder_3/model.fp16-00001-of-00002.safetensors": 4995,
    "text_encoder_3/model.fp16-00002-of-00002.safetensors": 4530,
    "text_encoder_3/model.safetensors.index.fp16.json": 0,
    "text_encoder_3/model.safetensors.index.json": 0,
    "text_encoders/t5xxl_fp16.safetensors": 9788,
    "tokenizer_3/spiece.model": 1,
    "transformer/diffusion_pytorch_model.safetensors": 4170,
}


def files(sizes: dict[str, int]) -> list[File]:
    return [File(path, size, "sha256:" + "0" * 64) for path, size in sizes.items()]


def chosen(want: SnapshotSpec, sizes: dict[str, int]) -> list[str]:
    return [file.path for file in want.select(files(sizes))]


def test_a_folder_takes_each_network_once_in_its_smallest_arithmetic() -> None:
    assert chosen(pull_plan("sd1.5-img2img", {})[0], PUBLISHED) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    size = sum(
        size * 1_000_000 for path, size in PUBLISHED.items() if path in chosen(SnapshotSpec("a/b", "main"), PUBLISHED)
    )
    assert size == pytest.approx(SOURCES["sd1.5-img2img"].size, rel=0.02)


def test_shards_come_with_their_index_and_twins_of_one_size_once() -> None:
    assert chosen(SnapshotSpec("a/b", "main"), SHARDS) == [
        "model_index.json",
        "text_encoder_3/config.json",
        "text_encoder_3/model-00001-of-00002.safetensors",
        "text_encoder_3/model-00002-of-00002.safetensors",
        "text_encoder_3/model.safetensors.index.json",
        "tokenizer_3/spiece.model",
        "transformer/diffusion_pytorch_model.safetensors",
    ]


def test_t5_is_not_pulled_where_it_is_not_loaded() -> None:
    [want] = pull_plan("sd3-med-img2img", {"sd3-med-img2img": ModelEntry(t5="none")})
    assert chosen(want, SHARDS) == ["model_index.json", "transformer/diffusion_pytorch_model.safetensors"]


def test_a_source_may_be_one_file_and_loras_may_lie_elsewhere() -> None:
    lora = {"source": "c/d", "file": "turbo.safetensors", "scale": 0.125}
    entry = ModelEntry.model_validate({"source": "a/b", "file": "x.safetensors", "loras": [lora, "mine.safetensors"]})
    wants = pull_plan("sd1.5-img2img", {"sd1.5-img2img": entry})
    files_wanted = [("a/b", "x.safetensors"), ("c/d", "turbo.safetensors")]
    assert [(want.repository, want.file) for want in wants[:2]] == files_wanted
    assert chosen(wants[0], {"x.safetensors": 1, "y.safetensors": 1}) == ["x.safetensors"]
    # A file in the original layout has no tokenizers: they come from the model's own repository.
    assert wants[2].repository == SOURCES["sd1.5-img2img"].repository
    assert chosen(wants[2], PUBLISHED) == ["tokenizer/merges.txt", "tokenizer/vocab.json"]
    assert len(pull_plan("sd1.5-img2img", {"sd1.5-img2img": entry.model_copy(update={"tokenizers": "/x"})})) == 2


@pytest.mark.parametrize(
    ("want", "sizes", "words"),
    [
        (
            SnapshotSpec("a/b", "main"),
            {"model_index.json": 0, "unet/diffusion_pytorch_model.bin": 1},
            "pickled weights only",
        ),
        (SnapshotSpec("a/b", "main", "model.ckpt"), {"model.ckpt": 1}, "pickled weights only, which can run code when"),
        (
            SnapshotSpec("a/b", "v2"),
            {"x.safetensors": 1},
            "a/b has no model_index.json at v2; name the file to pull",
        ),
        (SnapshotSpec("a/b", "main", "y.safetensors"), {"x.safetensors": 1}, "a/b has no y.safetensors at main"),
    ],
)
def test_what_can_not_be_pulled_is_said(want: SnapshotSpec, sizes: dict[str, int], words: str) -> None:
    with pytest.raises(PullFailed, match=words):
        want.select(files(sizes))


def test_turbo_needs_a_lora_and_its_own_error_says_so() -> None:
    with pytest.raises(PullFailed, match="its own weights are not public; name a few-step LoRA for SD 3 Medium"):
        pull_plan(TURBO, {})
    [want] = pull_plan(TURBO, {TURBO: ModelEntry.model_validate({"loras": ["flash.safetensors"]})})
    assert want.repository == "stabilityai/stable-diffusion-3-medium-diffusers"
    with pytest.raises(PullFailed, match="there is nothing to pull"):
        pull_plan(TURBO, {TURBO: ModelEntry.model_validate({"folder": "/x"})})


def test_a_further_slug_pulls_what_its_model_pulls() -> None:
    mine = ModelEntry(like="sd1.5-img2img")
    assert pull_plan("mine", {"mine": mine}) == pull_plan("sd1.5-img2img", {})


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (246_144_152, "246 MB"), (15_500_000_000, "15.5 GB")]
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert format_size(size) == words


def test_all_that_a_models_file_has_pulled() -> None:
    hub, here = {"source": "a/b", "file": "x.safetensors"}, {"file": "x.safetensors"}
    entries = {
        "from the hub": {"source": "a/b"},
        "here": {"folder": "x"},
        "priced": {"price": 1},
        "a preset": {"like": "sd3-med-img2img"},
        "here, styled from the hub": {"folder": "x", "loras": [hub]},
        "the published ones, styled from here": {"loras": [here]},
        "a file, which has no tokenizers": here | {"like": "sd3-med-img2img"},
        "a file with tokenizers": here | {"tokenizers": "y"},
    }
    assert pullable_slugs({slug: ModelEntry.model_validate(entry) for slug, entry in entries.items()}) == [
        "from the hub",
        "here, styled from the hub",
        "the published ones, styled from here",
        "a file, which has no tokenizers",
    ]
