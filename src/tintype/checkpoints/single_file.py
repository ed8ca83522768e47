"""The original layout: one file with a model's networks, or its denoiser alone, and without configurations."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import MALFORMED, Tensors, dequantize, display_name, meta_tensors, read_header
from tintype.errors import WeightsUnusable
from tintype.families import file_kind
from tintype.families.spec import ComponentSpec, Config, FamilySpec

#: Harmless leftovers of training and tools: averages (EMA), tables of the schedule, CLIP's temperature, the safety
#: checker, the optimizer's state, marks.
LEFTOVERS = re.compile(
    r"(^|[._])ema(_model)?\.|^(model_|unet_|ema_)*ema_"
    r"|^(alphas|betas|sigmas|log_sigmas|log_one_minus_|logvar|lvlb_|posterior_|scale_factor|sqrt_)"
    r"|(^|\.)logit_scale$|^(safety_checker|feature_extractor|image_encoder|watermark\w*)\."
    r"|^(optimizers?|optimizer_states|lr_schedulers?|callbacks|global_step|epoch|loops|denoiser|loss)($|[._])"
    r"|^(v_pred|ztsnr|edm_\w+)"
)


class SingleFile:
    """A model's file; raises WeightsUnusable where it is another kind of model's."""

    def __init__(self, path: Path, family: FamilySpec) -> None:
        self.path = path
        self.family = family
        self.header = read_header(path)
        kind, own = file_kind(self.header.tensors)
        if own != family:
            raise WeightsUnusable(f"{display_name(path)} is {kind}, not a model of the family {family.name}")

    def component(self, spec: ComponentSpec) -> Component | None:
        """A network, or None where the file has none; raises WeightsUnusable."""
        return find_component(self.path, spec, alone=False)

    @property
    def tokenizers(self) -> dict[str, Path]:
        """None: no such file holds any."""
        return {}

    @property
    def scheduler(self) -> Config:
        """The scheduler's configuration: the published one of the family, with the prediction that the file names."""
        training = self.family.training
        return {**training.published, **training.marked(self.header.tensors, self.header.metadata)}

    @property
    def pipeline(self) -> Config:
        """Empty: no such file says anything of it."""
        return {}

    @property
    def unexpected_keys(self) -> list[str]:
        """Tensors that belong to no network and are no known leftovers of training."""
        components = self.family.components
        known = tuple(prefix for one in components for prefix in (*one.prefixes, *one.bare))
        bare = any(name.startswith(one.bare) for one in components if one.bare for name in self.header.tensors)
        names = [] if bare else self.header.tensors
        return [name for name in names if not name.startswith(known) and not LEFTOVERS.search(name)]


def find_component(path: Path, spec: ComponentSpec, *, alone: bool) -> Component | None:
    """A component in a file of any layout, or None where the file has none of it; raises WeightsUnusable.

    `alone`: the file was named for this component, so that its tensors' names need no prefix.
    """
    name, prefix = spec.name, spec.prefix(read_header(path).tensors, alone=alone)
    if prefix is None:
        return None
    try:
        found = dequantize(meta_tensors([path], prefix))
        network = spec.network_of(found)
        config = network.config(network.convert(found))
    except KeyError as error:
        raise WeightsUnusable(f"{display_name(path)} is no whole {name}: {error} is not in it") from error
    except MALFORMED as error:
        shapes = f"its tensors have other shapes than any {name}'s"
        raise WeightsUnusable(f"{display_name(path)} is no {name}: {shapes}") from error
    return Component(spec, network.class_name, config, [path], rename=partial(_renamed, network.convert), prefix=prefix)


def _renamed(convert: Callable[[Tensors], Tensors], tensors: Tensors) -> Tensors:
    return convert(dequantize(tensors))
