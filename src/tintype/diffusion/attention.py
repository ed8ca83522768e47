"""Attention of many tokens in bfloat16 on a CPU, a few queries at a time.

torch's own kernel takes 2.2 times as long there: at 512² that was a third of all the time of SD 1.5's UNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

#: Queries at a time: their scores over all keys stay in the cache.
QUERIES = 256
#: Min queries and keys of an attention that is worth it, and min latents of an image that has such.
MIN_TOKENS, MIN_LATENTS = 256, 1024
#: Max threads: torch's kernel gives each a head of its own, where here all share one.
MAX_THREADS = 8


def attention_for(x: torch.Tensor) -> AbstractContextManager[Any]:
    """How a pass with these latents or pixels, (N, C, h, w), is to attend."""
    long = x.shape[-2:].numel() >= MIN_LATENTS
    here = x.device.type == "cpu" and torch.get_num_threads() <= MAX_THREADS
    return BlockwiseAttention() if long and here and x.dtype == torch.bfloat16 else nullcontext()


class BlockwiseAttention(TorchFunctionMode):  # type: ignore[misc]
    """Within it, this thread's calls of torch's attention are answered by `attend` where that is faster."""

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            return _attend_if_plain(*args, **kwargs or {})
        return function(*args, **kwargs or {})


def _attend_if_plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, **options: Any
) -> torch.Tensor:
    is_plain = attn_mask is None and not any(options.values()) and query.shape[:-2] == key.shape[:-2]
    if is_plain and query.ndim == 4 and min(query.shape[-2], key.shape[-2]) >= MIN_TOKENS:
        return attend(query, key, value)
    attended: torch.Tensor = scaled_dot_product_attention(query, key, value, attn_mask, **options)
    return attended


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d) v of each row and head: (N, heads, queries, d), (N, heads, keys, d), (N, heads, keys, d)."""
    attended = torch.empty_like(query)
    scaled = query * query.shape[-1] ** -0.5
    for place in ((row, head) for row in range(len(query)) for head in range(query.shape[1])):
        keys, values = key[place].T.contiguous(), value[place].contiguous()
        for some, out in zip(scaled[place].split(QUERIES), attended[place].split(QUERIES), strict=True):
            torch.mm((some @ keys).softmax(-1), values, out=out)
    return attended
