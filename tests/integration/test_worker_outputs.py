"""The output steps of a finished request."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.catalog.recipe import notes, read_recipe
from tintype.core import GenerationParams, Recipe, Result
from tintype.media.images import decode, encode, read_note
from tintype.media.provenance.mark import find
from tintype.media.provenance.marker import Marker
from tintype.media.provenance.source import Origin
from tintype.media.storage import Files
from tintype.running import RunningRequest
from tintype.settings.groups import Marking, ProvenanceSettings
from tintype.store.db.database import Database
from tintype.store.db.records import Request
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.plan import Running
from tintype.worker.timings import Timings

COUNT = 4
PARAMS = GenerationParams(steps=4, guidance=1, seed=7, sampler="euler", width=320, height=320, format="png")
ORIGIN = Origin("trainedAlgorithmicMedia", "m")


class Together:
    """A storage that stores nothing before it is handed that many images."""

    def __init__(self, images: int) -> None:
        self._all = threading.Barrier(images, timeout=60)

    def put(self, data: bytes, suffix: str) -> str:
        self._all.wait()
        return f"{len(data)}.{suffix}"


def finished(count: int, side: int = 8, claimed: Request | None = None) -> Running:
    """A request of black images, all of them drawn."""
    about: dict[str, Any] = {"slug": "m", "metadata": SimpleNamespace(traceparent=None), "safety": "off"}
    request: Any = claimed or SimpleNamespace(id="r", attempt=1, retries=0, steps=4, **about)
    params = replace(PARAMS, count=count)
    recipe = Recipe(model="m", params=PARAMS, weights="", dtype="float32", t5_tokens=77, source="")
    plan: Any = SimpleNamespace(
        warnings=(), size=(side, side), recipe=recipe, origin=ORIGIN, loaded=SimpleNamespace(builtin=False)
    )
    one: Running = RunningRequest(request, params, Future())
    one.wait_for_memory(plan)
    images: Any = [SimpleNamespace(step=4, steps=4, number=number) for number in range(count)]
    one.denoise(images, 0)
    for image in images:
        one.finish(image, torch.zeros(side, side, 3, dtype=torch.uint8))
    return one


def test_the_images_of_a_request_are_encoded_and_stored_at_the_same_time() -> None:
    results: list[Result] = []
    leases: Any = SimpleNamespace(complete=lambda _id, _attempt, result, _steps, _files: results.append(result) or True)
    storage: Any = Together(COUNT)
    outputs = Outputs(leases, storage, SafetyFilter(None), with_recipe=False)
    outputs.submit(finished(COUNT), 1.0, Timings("w")).result()
    [result] = results
    assert [(one.seed, one.width, one.height) for one in result.outputs] == [(7 + n, 8, 8) for n in range(COUNT)]
    outputs.close()


def made(db: Database, folder: Path, mode: Marking, count: int = 2, *, with_recipe: bool = True) -> list[bytes]:
    """The files of a request that is claimed, delivered and ended for real."""
    tenant = Tenant(store_on(db))
    tenant.submit()
    marker = Marker.from_settings(ProvenanceSettings(mode=mode), "", tenant.store.signers)
    outputs = Outputs(tenant.store.leases, Files(folder, 3600), SafetyFilter(None), marker, with_recipe=with_recipe)
    one = finished(count, 320, tenant.claim())
    outputs.submit(one, 1.0, Timings("w")).result()
    outputs.close()
    result = tenant.find(one.request).result
    assert result is not None
    assert result.recipe is not None
    files = [(folder / output.name).read_bytes() for output in result.outputs]
    if with_recipe:
        assert read_recipe(read_note(files[0])) == result.recipe
    return files


def number_of(file: bytes) -> bytes | None:
    found = find(np.asarray(decode(file, 320 * 320)))
    return found.number if found else None


def test_each_image_has_a_watermark_of_its_own_which_its_recipe_and_the_log_name(db: Database, tmp_path: Path) -> None:
    files, store = made(db, tmp_path, "full"), store_on(db)
    numbers = [number_of(file) for file in files]
    assert [read_recipe(read_note(file)).mark for file in files] == [one and one.hex() for one in numbers]
    assert len({*numbers, None}) == 3
    for file, number in zip(files, numbers, strict=True):
        assert number is not None
        assert number[:2] == store.signers.identity().tag
        [entry] = store.image_log.of_number(number)
        assert store.image_log.of_digest(hashlib.sha256(file).digest()) == entry
        assert b"c2pa.watermarked.unbound" in file


def test_the_same_recipe_has_the_same_watermark(db: Database, tmp_path: Path) -> None:
    """So that `exact` repeats pixels; whether the file says it is of no matter."""
    one, other = made(db, tmp_path, "full", 1), made(db, tmp_path, "full", 1, with_recipe=False)
    assert decode(*one, 320 * 320).tobytes() == decode(*other, 320 * 320).tobytes()
    assert read_note(*other) == ""
    [number] = map(number_of, one)
    assert number is not None
    assert len(store_on(db).image_log.of_number(number)) == 2


def test_what_is_only_signed_keeps_its_pixels(db: Database, tmp_path: Path) -> None:
    files = made(db, tmp_path, "signed")
    for file in files:
        assert decode(file, 320 * 320).getextrema() == ((0, 0),) * 3, "black, as it was drawn"
        assert read_recipe(read_note(file)).mark == ""
        assert b"c2pa.watermarked" not in file
        assert store_on(db).image_log.of_digest(hashlib.sha256(file).digest()) is not None


def test_what_is_not_marked_is_not_logged(db: Database, tmp_path: Path) -> None:
    [file] = made(db, tmp_path, "off", 1)
    assert b"c2pa" not in file
    assert store_on(db).image_log.of_digest(hashlib.sha256(file).digest()) is None


#: The file of a black image with this recipe, on standard output.
UNMARKED = """
import sys
from types import SimpleNamespace
import torch
from tintype.catalog.recipe import read_recipe
from tintype.media.provenance.marker import Marker
from tintype.media.provenance.source import Origin
from tintype.settings.groups import ProvenanceSettings
from tintype.worker.outputs import finish
recipe, marker = read_recipe(sys.argv[1]), Marker.from_settings(ProvenanceSettings(mode="off"), "", None)
plan = SimpleNamespace(size=(8, 8), origin=Origin("trainedAlgorithmicMedia", "m"))
file, _ = finish(marker, recipe.params, plan, torch.zeros(8, 8, 3, dtype=torch.uint8), recipe, with_recipe=True)
assert not {"c2pa", "tintype.media.provenance.mark"} & {*sys.modules}
sys.stdout.buffer.write(file.data)
"""


def test_where_nothing_is_marked_files_are_as_before_there_were_marks() -> None:
    """And what marks them is not even imported."""
    texts = notes(finished(1).plan.recipe, (8, 8))
    wanted = encode(Image.new("RGB", (8, 8)), "png", 95, *texts)
    assert b"XML" not in wanted
    run = subprocess.run([sys.executable, "-c", UNMARKED, texts[0]], capture_output=True, check=True)
    assert run.stdout == wanted
