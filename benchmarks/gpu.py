"""`python -m benchmarks.gpu --minutes 6`: proves or breaks what needs a GPU, the most valuable first, and measures it.

Random weights at true size. Each part has a process of its own; what is done is in the file that is written after each,
and isn't done again by the next run, which may have more minutes.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tests.fakedevice import T5_TOKENS, RecordingActivation
from tests.toy_weights import CLIP, FAMILIES, SD15_SCHEDULER, Components, image_spec, toy_weights, write_random
from tests.true_sizes import MODELS, true_size
from torch.nn.attention import SDPBackend

from benchmarks import networks
from benchmarks.networks import Config, Denoiser
from benchmarks.parts import Figure, Part, Record, run_parts
from benchmarks.run import machine
from benchmarks.work import Pipeline, mixed_jobs, ours
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion.compile import CompileCache, Run, run_eagerly
from tintype.diffusion.cuda_graphs import KERNELS, attention_kernel
from tintype.diffusion.devices import device_type
from tintype.diffusion.dtype_selection import medians, timed
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.memory.component import meter
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.memory.transfer import CudaTransfer, PlainTransfer, Transfer
from tintype.engine import Engine
from tintype.samplers import SAMPLERS, SCHEDULERS

#: Requests at once.
CLIENTS = (1, 8, 16)
SD15_COMPONENTS: Components = {
    "tokenizer": ("CLIPTokenizer", {}),
    "text_encoder": ("CLIPTextModel", CLIP | networks.CLIP_L),
    "vae": ("AutoencoderKL", {**networks.AUTOENCODER, "latent_channels": 4}),
    "unet": ("UNet2DConditionModel", networks.SD15_UNET),
}
#: Of latents after a whole request, on the GPU and on the CPU in float32.
TOLERANCE = 1e-2
#: What a step may wait for: whether its latents are finite.
WAITS = ("image_state.py",)


@dataclass(frozen=True)
class Bench:
    """Where it is measured, and how large."""

    device: torch.device
    dtype: torch.dtype
    rounds: int
    #: Where folders of weights are made.
    cache: Path
    #: Models at their true size, with the side of their images; or toys, where the bench itself is tested.
    models: Mapping[str, int]
    denoisers: Sequence[Denoiser] = networks.DENOISERS
    autoencoder: Config = field(default_factory=lambda: networks.AUTOENCODER)
    #: Side of the square matrices that are multiplied.
    side: int = 8192
    toy: bool = False

    @property
    def transfer(self) -> Transfer:
        if self.device.type == "cpu":
            return Transfer()
        return CudaTransfer(self.device) if device_type(self.device).pinned else PlainTransfer(self.device)

    def memory(self) -> DeviceMemory:
        measure = meter(self.device)
        activation = RecordingActivation(measure) if measure else None
        return DeviceMemory(host_budget=2**40, cpu=DeviceMemory(), transfer=self.transfer, activation=activation)

    def load(self, name: str, memory: DeviceMemory) -> Family:
        """A model; its weights are zeros at true size, until `fill`."""
        folder = toy_weights(name, self.cache) if self.toy else true_size(name, self.cache)
        family = name if self.toy else MODELS[name][0]
        return load_family(family, WeightsSpec(folder), self.device, self.dtype, T5_TOKENS, memory)

    def fill(self, family: Family) -> None:
        """Random weights: what is all zeros takes less power, and so less time."""
        for component in family.components:
            component.memory.acquire(component)
            component.memory.release(component)
            for tensor in (*component.module.parameters(), *component.module.buffers()):
                if tensor.is_floating_point() and not self.toy:
                    tensor.normal_(0, 0.02)

    def network(self, denoiser: Denoiser) -> Any:
        """With random weights."""
        return networks.random_network(denoiser.class_name, denoiser.config, self.dtype, self.device)

    def spec(self, name: str, *, seed: int = 1, **params: Any) -> ImageSpec:
        usual: dict[str, Any] = {"sampler": "Euler"}
        if name.startswith("sd3"):
            usual = {"sampler": "euler", "schedule": "simple"}
        side = self.models[name]
        return image_spec(seed=seed, width=side, height=side, **{"prompt": "a fox", "steps": 4, **usual, **params})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that aren't done, print what is known, and write it after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6, help="after which no part begins; what runs then is ended")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, xpu, mps")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure, interleaved")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-gpu.json"))
    parser.add_argument("--only", nargs="*", help="parts by name")
    parser.add_argument("--again", action="store_true", help="parts that are done, too")
    given = parser.parse_args(arguments)
    name = given.device.partition(":")[0]
    # In a child: a process that has asked the driver can't be forked any more.
    about = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ABOUT, given.device], capture_output=True, text=True, check=False
    )
    if about.returncode:
        sys.exit(f"benchmarks.gpu needs a GPU that torch can use ({name}), and finds none on this machine")
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        device, cache = torch.device(given.device), Path(folder)
        bench = Bench(device, torch.bfloat16, given.rounds, cache, {"sd15": 512, "sdxl": 1024, "sd3-medium": 1024})
        parts = [one for one in all_parts(bench) if not given.only or one.name in given.only]
        said = {"processor": about.stdout.strip(), "torch": torch.__version__, "weights": "random, at true size"}
        record = Record(given.output, said)
        run_parts(parts, record, 60 * given.minutes, _tell, again=given.again)
    record.content |= machine()
    record.note("end", state="done", figures=[])
    show(record)


ABOUT = """
import sys, torch
from tintype.diffusion.devices import device_type
device = torch.device(sys.argv[1])
assert device_type(device).count() > (device.index or 0) and device.type != "cpu"
allocator = device_type(device).allocator
print(allocator.get_device_name(device) if allocator else device.type, torch.version.cuda or "")
"""


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what is lost with a run should be little


def all_parts(bench: Bench) -> list[Part]:
    """What is proven first, then what is measured; the most useful first."""
    small, medium, *large = bench.denoisers
    eager, graphs, both = "eager", "graphs", "compiled graphs"
    return [
        Part("the same latents as the CPU's", partial(parity, bench), 20),
        Part("waits", partial(waits, bench), 20),
        Part("graphs follow weights that move", partial(moves, bench), 5),
        Part("offloaded and back", partial(transfers, bench), 15),
        Part("memory, sd15", partial(memory, bench, "sd15"), 15),
        Part(f"steps, {small.name}", partial(steps, bench, small, ways(eager, graphs)), 30),
        Part("ceilings", partial(ceilings, bench), 5),
        Part("attention", partial(attention, bench), 10),
        Part("layouts", partial(layouts, bench), 15),
        Part("memory, sdxl", partial(memory, bench, "sdxl"), 30),
        Part(f"steps, {medium.name}", partial(steps, bench, medium, ways(eager, graphs)), 40),
        Part("decoder", partial(decoding, bench), 10),
        Part("memory, sd3-medium", partial(memory, bench, "sd3-medium"), 60),
        Part("requests over diffusers", partial(requests, bench), 60),
        *(Part(f"steps, {one.name}", partial(steps, bench, one, ways(eager, graphs)), 60) for one in large),
        *(
            Part(f"compiled steps, {one.name}", partial(steps, bench, one, ways(eager, both)), 120)
            for one in bench.denoisers
        ),
        Part("requests over compiled diffusers", partial(requests, bench, compiled=True), 300),
    ]


def parity(bench: Bench) -> Iterator[Figure]:
    """Toy weights of every family, in float32, with samplers that share no code: latents as the CPU's."""
    torch.backends.cudnn.allow_tf32 = False  # of this part's own process
    apart = []
    for family in FAMILIES:
        if family.endswith("refiner"):
            continue
        names = ("dpmpp_2m", "euler_ancestral", "uni_pc") if family == "sd3" else ("DDIM", "Euler a", "UniPC")
        for sampler in names:
            more = {"schedule": "karras"} if family == "sd3" else {}
            specs = [
                image_spec(
                    prompt="a fox", steps=6, guidance=own, seed=seed, sampler=sampler, width=64, height=64, **more
                )
                for seed, own in enumerate((5.0, 1.0))
            ]
            here, there = (
                load_family(
                    family,
                    WeightsSpec(toy_weights(family, bench.cache)),
                    device,
                    torch.float32,
                    32,
                    DeviceMemory(transfer=transfer),
                )
                for device, transfer in ((bench.device, bench.transfer), (torch.device("cpu"), Transfer()))
            )
            made = [draw(one, specs) for one in (here, there)]
            off = max(float((a.cpu() - b).abs().max()) for a, b in zip(*made, strict=True))
            apart.append(off)
            yield Figure(f"{family}, {sampler}: largest difference of latents", off, "")
    if max(apart) > TOLERANCE:
        raise AssertionError(f"latents differ by {max(apart):.3g} from the CPU's")


def draw(family: Family, specs: Sequence[ImageSpec]) -> list[torch.Tensor]:
    """Finished latents, all of them drawn together."""
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        images = [family.begin(spec) for spec in specs]
        for image in images:
            engine.add(image)
        while engine.live:
            engine.step()
    return [_latents(image) for image in images]


def _latents(image: ImageState) -> torch.Tensor:
    if image.error is not None:
        raise image.error
    if image.latents is None:
        raise AssertionError("it has no latents")
    return image.latents


def waits(bench: Bench) -> Iterator[Figure]:
    """What torch itself says of the lines at which a step waits for the device, with every sampler and scheduler."""
    name = next(iter(bench.models))
    for model, samplers in ((name, SCHEDULERS), ("sd3-medium", SAMPLERS)):
        if model not in bench.models:
            continue
        family = bench.load(model, bench.memory())
        family.run = _same  # samplers are looked at, and a network's own waits below
        for sampler, spec in samplers.items():
            more = {"schedule": "karras"} if model == "sd3-medium" else {}
            with torch.inference_mode():
                image = family.begin(bench.spec(model, sampler=sampler, guidance=5.0, **more))
                yield _waited(bench, f"{model}, {sampler}", image, adaptive=spec.evaluations is None)
        family.run = run_eagerly
        bench.fill(family)
        with torch.inference_mode():
            yield _waited(bench, f"{model}, its network", family.begin(bench.spec(model, guidance=5.0)))


def _same(_network: Any, **given: Any) -> torch.Tensor:
    return torch.zeros_like(next(one for one in given.values() if isinstance(one, torch.Tensor)))


def _waited(bench: Bench, what: str, image: ImageState, *, adaptive: bool = False) -> Figure:
    """Counts the waits of an image's steps; raises AssertionError for those that aren't documented."""
    engine = Engine(max_rows=16)
    engine.add(image)
    lines: Counter[str] = Counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _watch_waits(bench.device, "warn")
        try:
            while engine.live:
                engine.step()
        finally:
            _watch_waits(bench.device, "default")
    lines.update(f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchronizing" in str(one.message))
    _latents(image)
    allowed = (*WAITS, "dpm_solver.py") if adaptive else WAITS
    if others := [line for line in lines if not line.startswith(allowed)]:
        raise AssertionError(f"{what} waits at {', '.join(others)}")
    return Figure(f"{what}: waits in {image.step} passes", lines.total(), "")


def _watch_waits(device: torch.device, mode: str) -> None:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


def moves(bench: Bench) -> Iterator[Figure]:
    """A prepared pass gives what an eager one gives, before and after its weights have moved."""
    network = bench.network(bench.denoisers[0])
    prepared = CompileCache(compiles=False, captures=bench.device.type == "cuda", often=1)
    with torch.inference_mode():
        for when in ("captured", "replayed", "after a move"):
            given = networks.inputs(network, bench.denoisers[0].side, 2, bench.dtype, bench.device)
            eager, other = run_eagerly(network, **given), prepared(network, **given)
            prepared.wait()
            other = prepared(network, **given)
            off = float((eager - other).abs().max() / eager.abs().max())
            yield Figure(f"largest relative difference, {when}", off, "")
            if not off < 0.05:
                raise AssertionError(f"a graph is off by {off:.3g} {when}")
            if when == "replayed":
                for tensor in network.parameters():
                    tensor.data = tensor.data.clone()
    if bench.device.type == "cuda" and None in prepared._copies[network].runs.values():
        raise AssertionError("the graph couldn't be captured, or not replayed: the log says why")
    prepared.close()


def transfers(bench: Bench) -> Iterator[Figure]:
    """Weights to the device out of their files, from there to host memory, and back; and the latents after that."""
    name = next(iter(bench.models))
    memory = bench.memory()
    family = bench.load(name, memory)
    component = family.denoiser
    megabytes = component.size / 1e6

    def bring() -> None:
        memory.acquire(component)
        memory.release(component)

    yield Figure("out of its file", megabytes / timed(on(bench.device, bring)), "MB/s")
    bench.fill(family)
    specs = [bench.spec(name, guidance=5.0)]
    before = draw(family, specs)
    yield Figure(
        "offloaded",
        megabytes / timed(on(bench.device, lambda: memory.evict_unused(family.autoencoder.component))),
        "MB/s",
    )
    yield Figure("and back", megabytes / timed(on(bench.device, bring)), "MB/s")
    [one], [other] = before, draw(family, specs)
    yield Figure("difference after it", float((one - other).abs().max()), "")
    if bench.device.type != "cpu" and not torch.equal(one, other):
        raise AssertionError("weights have changed on the way")


def memory(bench: Bench, name: str) -> Iterator[Figure]:
    """What was reserved for each pass over what torch's allocator says that it took."""
    if name not in bench.models:
        return
    room = bench.memory()
    family = bench.load(name, room)
    bench.fill(family)
    side = bench.models[name]
    with torch.inference_mode():
        for turn in range(2):  # the first pass after a load isn't measured
            spec = bench.spec(name, prompt=f"a fox {turn}", init=True, strength=0.9, guidance=5.0, steps=2)
            image = family.begin(spec, torch.zeros(1, 3, side, side))
            engine = Engine(max_rows=16)
            engine.add(image)
            for seed in range(3):
                engine.add(family.begin(bench.spec(name, seed=seed, guidance=1.0, steps=1)))
            while engine.live:
                engine.step()
            family.autoencoder.decode(torch.zeros_like(_latents(image)))
    activation = room.activation
    if not isinstance(activation, RecordingActivation):
        return
    for key, taken in activation.taken.items():
        component, kind, _, _, rows = key
        what = f"{name}, {room.known[component].name}, {kind}, {rows} rows"
        yield Figure(f"{what}: taken", taken / 2**20, "MB")
        yield Figure(f"{what}: reserved over taken", activation.guesses[key] / max(1, taken), "times")


def ways(*names: str) -> dict[str, Callable[[], Run]]:
    """How passes are run, by name; made where they are needed, as compilers have threads."""
    made: dict[str, tuple[bool, bool]] = {
        "compiled": (True, False),
        "graphs": (False, True),
        "compiled graphs": (True, True),
    }
    found: dict[str, Callable[[], Run]] = {"eager": lambda: run_eagerly}
    for name, (compiles, captures) in made.items():
        found[name] = partial(CompileCache, compiles=compiles, captures=captures, often=1)
    return {name: found[name] for name in names}


def ceilings(bench: Bench) -> Iterator[Figure]:
    """Matrix products, copies within the device's memory, and copies to it out of pinned memory."""
    device, dtype, side = bench.device, bench.dtype, bench.side
    yield Figure(f"matrix product {side}²", product(bench) / 1e12, "TFLOP/s")
    here, there = (torch.empty(side * side, dtype=dtype, device=device) for _ in range(2))
    size = here.nbytes
    [seconds] = medians([on(device, lambda: there.copy_(here))], bench.rounds)
    yield Figure("copy on the device, read and written", 2 * size / seconds / 1e9, "GB/s")
    host = torch.empty(side * side, dtype=dtype, pin_memory=device_type(device).pinned)
    [seconds] = medians([on(device, lambda: here.copy_(host, non_blocking=True))], bench.rounds)
    yield Figure("copy from pinned host memory", size / seconds / 1e9, "GB/s")


def product(bench: Bench) -> float:
    """Operations per second of a matrix product."""
    side = bench.side
    one, other = (torch.randn(side, side, device=bench.device).to(bench.dtype) for _ in range(2))
    [seconds] = medians([on(bench.device, lambda: one @ other)], bench.rounds)
    return 2 * side**3 / seconds


def steps(bench: Bench, denoiser: Denoiser, ways: Mapping[str, Callable[[], Run]]) -> Iterator[Figure]:
    """A denoiser's steps by rows and by way of running them; the ways take turns."""
    ceiling = product(bench)
    network = bench.network(denoiser)
    runs = {way: make() for way, make in ways.items()}
    with torch.inference_mode():
        for rows in denoiser.rows:
            given = networks.inputs(network, denoiser.side, rows, bench.dtype, bench.device)
            for run in runs.values():
                run(network, **given)
                if isinstance(run, CompileCache):
                    run.wait()
            times = medians([on(bench.device, partial(run, network, **given)) for run in runs.values()], bench.rounds)
            operations = networks.work(denoiser, rows)
            for way, seconds in zip(runs, times, strict=True):
                share = operations / seconds / ceiling
                yield Figure(f"{denoiser.name}, {rows} rows, {way}", 1000 * seconds, "ms a step", share)
    for run in runs.values():
        if isinstance(run, CompileCache):
            run.close()


def attention(bench: Bench) -> Iterator[Figure]:
    """Each attention kernel, in a step of each denoiser."""
    kernels = KERNELS if bench.device.type == "cuda" else (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
    for denoiser in bench.denoisers[:2]:
        network = bench.network(denoiser)
        with torch.inference_mode():
            given = networks.inputs(network, denoiser.side, 2, bench.dtype, bench.device)
            works = [on(bench.device, partial(_with_kernel, kernel, network, given)) for kernel in kernels]
            for kernel, seconds in zip(kernels, medians(works, bench.rounds), strict=True):
                yield Figure(f"{denoiser.name}, 2 rows, {kernel.name.lower()}", 1000 * seconds, "ms a step")
        del network
        free(bench.device)


def _with_kernel(kernel: SDPBackend, network: Any, given: Mapping[str, torch.Tensor]) -> None:
    with attention_kernel(kernel):
        run_eagerly(network, **given)


def layouts(bench: Bench) -> Iterator[Figure]:
    """Channels last, as weights are loaded, or first: CUDA's group norm copies the former, cuDNN the latter."""
    denoiser = bench.denoisers[0]
    for word, layout in (("last", torch.channels_last), ("first", torch.contiguous_format)):
        network = bench.network(denoiser).to(memory_format=layout)
        vae = networks.random_network("AutoencoderKL", bench.autoencoder, bench.dtype, bench.device).to(
            memory_format=layout
        )
        with torch.inference_mode():
            given = networks.inputs(network, denoiser.side, 2, bench.dtype, bench.device)
            given["sample"] = given["sample"].contiguous(memory_format=layout)
            shape = 1, vae.config.latent_channels, denoiser.side, denoiser.side
            latents = torch.randn(shape, device=bench.device).to(bench.dtype)
            works = [partial(run_eagerly, network, **given), partial(vae.decode, latents, return_dict=False)]
            times = medians([on(bench.device, work) for work in works], bench.rounds)
        for what, seconds in zip((f"{denoiser.name}, 2 rows", "decoder"), times, strict=True):
            yield Figure(f"{what}, channels {word}", 1000 * seconds, "ms")
        del network, vae
        free(bench.device)


def decoding(bench: Bench, sides: Sequence[int] = (64, 128)) -> Iterator[Figure]:
    """The autoencoder's decoder, one picture."""
    vae = networks.random_network("AutoencoderKL", bench.autoencoder, bench.dtype, bench.device)
    with torch.inference_mode():
        for side in sides:
            shape = 1, vae.config.latent_channels, side, side
            latents = torch.randn(shape, device=bench.device).to(bench.dtype, memory_format=torch.channels_last)
            [seconds] = medians([on(bench.device, partial(vae.decode, latents, return_dict=False))], bench.rounds)
            yield Figure(f"decoder, {8 * side}²", 1000 * seconds, "ms a picture")


def requests(
    bench: Bench, together: Sequence[list[ImageSpec]] | None = None, *, compiled: bool = False
) -> Iterator[Figure]:
    """Whole SD 1.5 requests that differ in all but their size, over diffusers' pipeline, as it is or compiled."""
    folder = bench.cache / "requests"
    if bench.toy:
        folder = toy_weights("sd15", bench.cache)
    elif not folder.exists():
        write_random(folder, SD15_COMPONENTS, SD15_SCHEDULER)
    weights = WeightsSpec(folder)
    family = load_family("sd15", weights, bench.device, bench.dtype, T5_TOKENS, DeviceMemory(transfer=bench.transfer))
    pipeline = Pipeline(folder)
    pipeline.pipe.to(bench.device, bench.dtype)
    if compiled:
        pipeline.pipe.unet.compile()
    for jobs in together or [mixed_jobs(count) for count in CLIENTS]:
        count = len(jobs)
        works: list[Callable[[], Any]] = [partial(ours, family, jobs), partial(pipeline, jobs)]
        made, expected = works[0]().pictures, works[1]().pictures
        apart = sum(abs(one.astype(float) - other).mean() for one, other in zip(made, expected, strict=True)) / count
        yield Figure(f"{count} requests: mean difference of the pictures", apart, "levels of 255")
        times = medians([on(bench.device, work) for work in works], bench.rounds)
        name = "compiled diffusers'" if compiled else "diffusers'"
        yield Figure(f"{count} requests: pictures/s over {name}", times[1] / times[0], "times")


def on(device: torch.device, work: Callable[[], Any]) -> Callable[[], Any]:
    """The work, until the device has done it."""

    def done() -> None:
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return done


def free(device: torch.device) -> None:
    """Give back what the last network took."""
    gc.collect()
    device_type(device).empty_cache()


def show(record: Record) -> None:
    """Print the table."""
    table = Table("part", "figure", "", "unit", "of the ceiling")
    for name, part in record.parts.items():
        for one in part.get("figures", []):
            share = "" if one["share"] is None else f"{one['share']:.0%}"
            table.add_row(name, one["what"], f"{one['number']:.4g}", one["unit"], share)
        if part["state"] != "done":
            table.add_row(name, part["state"], "", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
