"""Attention in blocks: when it answers, and what it gives."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as torchs

from tintype.diffusion import attention
from tintype.diffusion.attention import MAX_THREADS, MIN_TOKENS, QUERIES, BlockwiseAttention, attend, attention_for

LONG, SHORT = QUERIES + 44, MIN_TOKENS - 1


def tensors(queries: int, keys: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """As diffusers hands them over: heads were split off the last dimension."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, tokens, 3, 8) for tokens in (queries, keys, keys)]
    return [torch.randn(size, generator=generator).to(dtype).transpose(1, 2) for size in sizes]


def test_it_is_torch_s_attention() -> None:
    given = tensors(LONG, LONG + 7)
    torch.testing.assert_close(attend(*given), torchs(*given))
    half = tensors(LONG, LONG, torch.bfloat16)
    error = (attend(*half).float() - torchs(*(one.float() for one in half))).norm()
    assert error < 0.01 * torchs(*half).float().norm()


@pytest.mark.parametrize(
    ("queries", "keys", "options", "own"),
    [
        (LONG, LONG, {"dropout_p": 0.0, "is_causal": False}, True),
        (LONG, SHORT, {}, False),
        (SHORT, LONG, {}, False),
        (LONG, LONG, {"attn_mask": torch.ones(LONG, LONG, dtype=torch.bool)}, False),
        (LONG, LONG, {"is_causal": True}, False),
        (LONG, LONG, {"scale": 0.5}, False),
    ],
)
def test_it_answers_only_what_it_can(
    monkeypatch: pytest.MonkeyPatch, queries: int, keys: int, options: dict[str, Any], own: bool
) -> None:
    answered = []
    monkeypatch.setattr(attention, "attend", lambda *given: answered.append(1) or attend(*given))
    given = tensors(queries, keys)
    expected = torchs(*given, **options)
    with BlockwiseAttention():
        torch.testing.assert_close(torchs(*given, **options), expected)
    assert bool(answered) is own


def test_it_is_for_large_images_in_bfloat16_on_few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    large = torch.empty(1, 4, 32, 32, dtype=torch.bfloat16)
    assert isinstance(attention_for(large), BlockwiseAttention)
    for other in (large.float(), large[..., 1:], large.to("meta")):
        assert isinstance(attention_for(other), nullcontext)
    monkeypatch.setattr(torch, "get_num_threads", lambda: MAX_THREADS + 1)
    assert isinstance(attention_for(large), nullcontext)
