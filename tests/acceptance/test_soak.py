"""An hour of steady light load: what the processes take, and what is kept, is as much at the end as at the beginning.

`SOAK_MINUTES` says how long; `SOAK_FOLDER` where the table and the plot are left, else in the test's own folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.chaos_checks import Aftermath
from tests.acceptance.chaos_load import Load
from tests.acceptance.chaos_plan import Keys, light
from tests.acceptance.chaos_scenes import Scene, scene_on
from tests.acceptance.chaos_soak import Soak, draw, drifts, look_around, paced
from tests.acceptance.harness import until
from tests.integration.webhook_receiver import receiving

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
#: Requests a second, and seconds from one look at something else to the next.
RATE, LOOK = 1.2, 1.5
#: Records, files, messages and uploads live for a minute, so that as many go as come.
LIVES = {"retention": 60, "file_life": 0, "history_life": 60, "asset_life": 60, "webhook_retention": 60, "sweep": 5}
#: Megabytes for encoded prompts, which are full before the warm-up is over.
SHORT = LIVES | {"prompt_cache": 2}

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(MINUTES * 60 + 900)]


@pytest.fixture(params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene_on(request.param, request, **SHORT) as scene:
        yield scene


def test_soak(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    folder = Path(os.environ.get("SOAK_FOLDER", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"soak-{scene.name}.csv"

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201 - an hour without a word is long

    with closing(scene.store()) as db, receiving() as receiver:
        over = threading.Event()
        load = Load(paced(light(8), RATE, over), Keys.make(db), scene.addresses, receiver.url())
        soak = Soak(scene, table, max(1.0, MINUTES / 6), say)
        with ThreadPoolExecutor(2) as apart:
            asking, looking = apart.submit(load.run, 6), apart.submit(look_around, scene, over, LOOK)
            try:
                soak.run(MINUTES * 60)
            finally:
                over.set()
            asking.result()
            looked = looking.result()
        until(lambda: not scene.busy(db), 120)
        Aftermath.read(db, load.keys)
    draw(soak.readings, table.with_suffix(".png"), f"{MINUTES:g} minutes on {scene.name}, {load.taken} asks")
    found = drifts(soak.readings)
    record_property("figures", f"{scene.name}: {load.taken} asks, {dict(load.tally)}, {dict(looked)}, {found}; {table}")
    assert not load.noticed
    assert set(looked) == {200, 404}
    assert all(last <= most for _, last, most in found.values()), found
