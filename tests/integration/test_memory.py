"""The memory of a device with a made-up budget: who leaves, who stays, and that there is never more in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch

from tintype.diffusion.memory.component import (
    MEASURED,
    SLACK,
    ActivationMemory,
    ForwardPass,
    LoadedComponent,
    Location,
    MemoryEstimate,
)
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.text import Conditioning, PromptCache
from tintype.errors import NoRoom
from tintype.worker.requests import OVERDUE_AFTER, Admission


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tracks:
    """A transfer that notes what it did."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def to_device(self, module: str) -> str:
        self.moves.append(f"+{module}")
        return module

    def to_host(self, module: str) -> str:
        self.moves.append(f"-{module}")
        return module

    def trim(self) -> None:
        self.moves.append("trim")


def memory(budget: int, **more: Any) -> DeviceMemory:
    return DeviceMemory(budget, **more)


def add(where: DeviceMemory, name: str, size: int) -> LoadedComponent:
    return where.component(name, name, size, lambda: name)


@contextmanager
def at_work(part: LoadedComponent, working: int = 0) -> Iterator[Any]:
    with part.memory.lease(passing(part, working)) as module:
        yield module


def passing(part: LoadedComponent, working: int, rows: int = 1, height: int = 64) -> ForwardPass:
    return part.forward_pass("test", height, 64, rows, working)


def use(*parts: LoadedComponent, working: int = 0) -> None:
    for part in parts:
        with at_work(part, working) as module:
            assert module == part.name
            assert part.location is Location.DEVICE


def places(where: DeviceMemory) -> dict[str, Location]:
    return {one.name: one.location for one in where.known.values()}


def here(where: DeviceMemory) -> set[str]:
    return {name for name, place in places(where).items() if place is Location.DEVICE}


def test_the_one_needed_longest_ago_leaves_first() -> None:
    store = memory(100)
    a, b, c, d = (add(store, name, 30) for name in "abcd")
    use(a, b, c)
    use(a)
    use(d)
    assert here(store) == {"a", "c", "d"}
    use(b)
    assert here(store) == {"a", "b", "d"}
    assert store.loads == 5


def test_what_is_pinned_or_at_work_stays() -> None:
    store = memory(100)
    pinned, busy, idle, coming = (add(store, name, 30) for name in ("pinned", "busy", "idle", "coming"))
    pinned.pinned = True
    use(pinned)
    with at_work(busy):
        use(idle)
        use(coming)
        assert here(store) == {"pinned", "busy", "coming"}
        with pytest.raises(NoRoom):
            use(add(store, "large", 50))
        assert here(store) == {"pinned", "busy", "coming"}, "a refusal changes nothing"
    use(add(store, "large", 50))
    assert here(store) == {"pinned", "large"}


def test_components_that_nobody_can_ask_for_are_forgotten_once_they_have_left() -> None:
    store = memory(100)
    use(add(store, "a", 60))
    assert places(store) == {"a": Location.DEVICE}
    use(add(store, "b", 60))
    assert places(store) == {"b": Location.DEVICE}


def test_equal_numbers_are_there_once() -> None:
    store = memory(100)
    assert add(store, "encoder", 60) is add(store, "encoder", 60)
    use(add(store, "encoder", 60))
    use(add(store, "encoder", 60))
    assert (store.used, store.loads) == (60, 1)


def test_a_pass_has_the_room_that_it_was_promised() -> None:
    store = memory(100)
    a, b = add(store, "a", 40), add(store, "b", 40)
    use(a, b)
    with at_work(a, 50):
        assert here(store) == {"a"}
        assert store.used == 90
        with pytest.raises(NoRoom):
            use(b)
    use(b)
    assert store.used == 80


def test_what_leaves_waits_in_host_memory_and_then_only_on_disk() -> None:
    tracks = Tracks()
    store = memory(30, host_budget=60, transfer=tracks)
    a, b, c, d = (add(store, name, 30) for name in "abcd")
    use(a, b, c)
    assert places(store) == {"a": Location.HOST, "b": Location.HOST, "c": Location.DEVICE, "d": Location.DISK}
    use(d)
    assert places(store) == {"a": Location.DISK, "b": Location.HOST, "c": Location.HOST, "d": Location.DEVICE}
    use(b)
    assert places(store)["b"] is Location.DEVICE
    assert tracks.moves == ["+a", "-a", "+b", "-b", "+c", "-c", "+d", "-d", "+b"]


def test_what_comes_from_host_memory_is_not_dropped_for_what_leaves() -> None:
    """Each has the other's place in host memory; none is read from its files again."""
    tracks = Tracks()
    store = memory(30, host_budget=60, transfer=tracks)
    a, b, c = (add(store, name, 30) for name in "abc")
    use(a, b, c)
    built: list[str] = []
    for part in (a, b, c):
        part.build = lambda part=part: built.append(part.name) or part.name
    use(a)
    assert places(store) == {"a": Location.DEVICE, "b": Location.DISK, "c": Location.HOST}
    use(c, a, c)
    assert built == []


def test_what_breaks_off_on_its_way_begins_anew_from_its_files() -> None:
    store = memory(30, host_budget=30, transfer=(tracks := Tracks()))
    a, b = add(store, "a", 30), add(store, "b", 30)
    use(a, b)
    arrive, tracks.to_device = tracks.to_device, fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        use(a)
    assert a.location is Location.DISK
    tracks.to_device = arrive  # type: ignore[method-assign]
    use(a)
    assert store.used == 30


def fail(module: str) -> str:
    raise RuntimeError(module)


def test_whether_a_component_could_come_now() -> None:
    store = memory(100)
    busy, idle, coming = add(store, "busy", 60), add(store, "idle", 30), add(store, "coming", 50)
    use(idle)
    with at_work(busy):
        assert store.can_fit(busy)
        assert store.can_fit(idle)
        assert not store.can_fit(coming)
    assert store.can_fit(coming)


def test_the_device_may_have_less_than_was_thought() -> None:
    """The first attempt to bring a component runs out of memory: what isn't needed leaves, then it succeeds."""
    tracks = Tracks()
    store = memory(100, transfer=tracks)
    idle, coming = add(store, "idle", 10), add(store, "coming", 10)
    use(idle)
    arrive, refusals = tracks.to_device, [torch.OutOfMemoryError()]

    def tight(module: str) -> str:
        if refusals:
            raise refusals.pop()
        return arrive(module)

    tracks.to_device = tight  # type: ignore[method-assign]
    use(coming)
    assert here(store) == {"coming"}


def test_a_pass_that_runs_out_is_tried_again_without_the_others() -> None:
    store = memory(100)
    idle, busy = add(store, "idle", 10), add(store, "busy", 10)
    beside: list[set[str]] = []

    def ran_out(module: str) -> str:
        beside.append(here(store))
        raise torch.OutOfMemoryError

    use(idle)
    with pytest.raises(torch.OutOfMemoryError):
        passing(busy, 5).run(ran_out)
    assert beside == [{"idle", "busy"}, {"busy"}]
    with pytest.raises(torch.OutOfMemoryError):
        passing(busy, 5).run(ran_out)
    assert beside == [{"idle", "busy"}, {"busy"}, {"busy"}], "there was nothing that could have left"
    assert (busy.leases, store.used) == (0, 10)


def test_a_component_that_fails_to_load_is_not_there() -> None:
    store = memory(100)
    broken = store.component("broken", "broken", 10, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        use(broken)
    assert (store.used, broken.leases, broken.location) == (0, 0, Location.DISK)


def test_what_a_heartbeat_reports_waits_for_no_load() -> None:
    """It is read between two renewals of the leases: a load may take longer than those last."""
    store = memory(100)
    with ThreadPoolExecutor(1) as heart:

        def build() -> str:
            return str(heart.submit(lambda: store.used).result(timeout=60))

        use(add(store, "idle", 10))
        slow = store.component("slow", "slow", 10, build)
        with at_work(slow) as seen:
            assert seen == "10"
    assert store.used == 20


def test_what_nobody_used_for_long_leaves() -> None:
    clock = Clock()
    store = memory(100, clock=clock)
    old, pinned, fresh = (add(store, name, 10) for name in ("old", "pinned", "fresh"))
    pinned.pinned = True
    use(old, pinned)
    clock.now = 50
    use(fresh)
    store.evict_expired(40)
    assert here(store) == {"pinned", "fresh"}


def test_each_part_may_have_a_time_of_its_own() -> None:
    clock = Clock()
    store = memory(100, clock=clock)
    short, long, endless, unsaid = (add(store, name, 10) for name in ("short", "long", "endless", "unsaid"))
    short.keep_alive, long.keep_alive, endless.keep_alive = 10, 100, 0
    use(short, long, endless, unsaid)
    clock.now = 50
    store.evict_expired()
    assert here(store) == {"long", "endless", "unsaid"}
    clock.now = 150
    store.evict_expired()
    assert here(store) == {"endless", "unsaid"}


@pytest.mark.parametrize("seed", range(5))
def test_never_more_than_the_budget(seed: int) -> None:
    """Random work on random components, nested and pinned; also as its own total says, counted apart."""
    dice = random.Random(seed)
    store = memory(1000, host_budget=500)
    parts = [add(store, f"p{number}", dice.randint(50, 400)) for number in range(12)]
    parts[0].pinned = True
    refused = 0

    def state() -> list[object]:
        return [store.used, *((one.location, one.leases) for one in parts)]

    def work(depth: int, around: int) -> None:
        nonlocal refused
        promised = dice.randint(0, 300)
        before = state()
        try:
            with at_work(dice.choice(parts), promised):
                held = sum(one.size for one in parts if one.location is Location.DEVICE)
                assert held + around + promised == store.used <= store.budget
                assert sum(one.size for one in parts if one.location is Location.HOST) <= store.host_budget
                if depth:
                    work(depth - 1, around + promised)
        except NoRoom:
            refused += 1
            assert state() == before, "a refusal changes nothing"

    for _ in range(300):
        work(dice.randint(0, 3), 0)
    assert refused
    assert store.peak <= store.budget
    assert parts[0].location is Location.DEVICE
    assert all(part.leases == 0 for part in parts)


@pytest.mark.parametrize("seed", range(5))
def test_what_may_start_finds_room_for_each_pass(seed: int) -> None:
    """Random images, some with two denoisers, that begin when `Admission` says so; then their passes in any order."""
    dice = random.Random(seed)
    store = memory(1000, host_budget=300)
    parts = [add(store, f"p{number}", dice.randint(50, 300)) for number in range(8)]
    parts[0].pinned = True
    admission = Admission(99, 99, Clock())
    running: dict[str, MemoryEstimate] = {}
    waited = began = 0

    def some(*parts: LoadedComponent) -> tuple[ForwardPass, ...]:
        return tuple(passing(part, dice.randint(0, 300)) for part in parts)

    for id in map(str, range(300)):
        kept = dice.sample(parts, dice.choice([1, 1, 2]))
        own = MemoryEstimate(tuple(kept), some(*dice.sample(parts, 2)), some(*kept, dice.choice(parts)))
        with suppress(NoRoom):  # not even alone
            if admission.may_start(id, own):
                running[id] = own
                began += 1
            else:
                admission.leave(id)
                waited += 1
        if id in running:
            for one in own.before:
                one.run(str)
            for part in kept:
                store.acquire(part)
        for _ in range(3 if running else 0):
            dice.choice([one for each in running.values() for one in each.during]).run(str)
        if running and dice.random() < 0.4:
            ended = dice.choice([*running])
            for part in running.pop(ended).denoisers:
                store.release(part)
            admission.leave(ended)
    assert min(began, waited) > 50
    assert store.peak <= store.budget


def measured(*sizes: int | None) -> LoadedComponent:
    """A component whose passes are measured to take these bytes, one after the other."""
    said = iter(sizes)
    return add(memory(10**6, activation=ActivationMemory(lambda: lambda: next(said))), "unet", 0)


def test_a_pass_is_measured_a_few_times_and_the_largest_counts() -> None:
    unet = measured(70, 100, 90)
    assert passing(unet, 1000, 2).activation == 1000
    for _ in range(MEASURED + 2):
        with unet.memory.activation.measured(passing(unet, 1000, 2)):
            pass
    assert passing(unet, 1000, 2).activation == round(100 * SLACK)
    assert passing(unet, 1000, 8).activation == round(400 * SLACK), "in proportion to the rows"
    assert passing(unet, 1000, 2, height=128).activation == 1000, "another size has not been measured"


def test_a_failed_pass_and_the_first_after_a_load_teach_nothing() -> None:
    unet = measured(None, 5)
    unet.just_loaded = True
    one, activation = passing(unet, 1000), unet.memory.activation
    with activation.measured(one):
        pass
    with pytest.raises(RuntimeError), activation.measured(one):
        raise RuntimeError
    assert passing(unet, 1000).activation == 1000
    with activation.measured(one):
        pass
    assert passing(unet, 1000).activation == 1000, "nothing could be told"
    with activation.measured(one):
        pass
    assert passing(unet, 1000).activation == round(5 * SLACK)


def estimate(kept: LoadedComponent, working: int, *before: ForwardPass) -> MemoryEstimate:
    return MemoryEstimate((kept,), before, (passing(kept, working),))


def test_an_encoder_need_not_fit_beside_the_denoiser_that_comes_after_it() -> None:
    store = memory(100)
    encoder, denoiser = add(store, "encoder", 70), add(store, "denoiser", 60)
    own = estimate(denoiser, 30, passing(encoder, 10))
    assert own.fits()
    assert not own.fits([estimate(add(store, "other", 30), 0)]), "no room for the encoder beside what is under way"
    assert not estimate(denoiser, 50).fits()


def test_a_component_of_another_memory_takes_none_of_this_one() -> None:
    device, host = memory(100), memory(50)
    t5, denoiser = add(host, "t5", 40), add(device, "denoiser", 90)
    assert estimate(denoiser, 10, passing(t5, 10)).fits()
    assert not estimate(denoiser, 10, passing(t5, 20)).fits()


def test_a_later_need_of_those_under_way_counts() -> None:
    """The decoder's room, which a picture under way will need, is not given away."""
    store = memory(100)
    one, other, vae = add(store, "one", 40), add(store, "other", 40), add(store, "vae", 10)
    running = MemoryEstimate((one,), (), (passing(one, 0), passing(vae, 20)))
    assert estimate(other, 10).fits()
    assert not estimate(other, 10).fits([running])


def test_tasks_wait_for_room_and_share_what_is_there() -> None:
    store = memory(100)
    a, b = add(store, "a", 60), add(store, "b", 60)
    admission = Admission(4, 16, Clock())
    assert admission.may_start("1", estimate(a, 30))
    assert admission.may_start("2", estimate(a, 30)), "the same weights, one pass after the other"
    assert not admission.may_start("3", estimate(b, 30))
    admission.leave("1")
    assert not admission.may_start("3", estimate(b, 30))
    admission.leave("2")
    assert admission.may_start("3", estimate(b, 30))


def test_what_could_never_fit_is_refused_at_once() -> None:
    store = memory(100)
    admission = Admission(4, 16, Clock())
    with pytest.raises(NoRoom, match=r"need 1.02e-07 GB .* has 9.31e-08 GB"):
        admission.may_start("1", estimate(add(store, "a", 60), 50))
    assert admission.may_start("2", estimate(add(store, "a", 60), 30)), "and keeps nobody else from beginning"


def test_small_ones_pass_a_large_one_for_a_while_and_not_forever() -> None:
    clock = Clock()
    store = memory(100)
    small, large = add(store, "small", 20), add(store, "large", 90)
    admission = Admission(4, 16, clock)
    admission.may_start("0", estimate(small, 10))
    assert not admission.may_start("large", estimate(large, 0))
    assert admission.may_start("1", estimate(small, 10))
    assert not admission.closed
    clock.now = OVERDUE_AFTER + 1
    assert admission.closed
    assert not admission.may_start("2", estimate(small, 10))
    for task in ("0", "1"):
        admission.leave(task)
    assert not admission.may_start("2", estimate(small, 10)), "also when there is room, as it was asked first"
    assert admission.may_start("large", estimate(large, 0))
    assert not admission.closed
    admission.leave("large")
    assert admission.may_start("2", estimate(small, 10))


def test_a_large_one_that_gives_up_holds_nobody_up() -> None:
    clock = Clock()
    store = memory(100)
    small, large = add(store, "small", 20), add(store, "large", 90)
    admission = Admission(4, 16, clock)
    admission.may_start("0", estimate(small, 10))
    admission.may_start("large", estimate(large, 0))
    clock.now = OVERDUE_AFTER + 1
    admission.leave("large")
    assert admission.may_start("1", estimate(small, 10))


def encoded(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 4, 4), value))


def test_prompts_are_kept_up_to_a_size_and_the_oldest_forgotten() -> None:
    prompts = PromptCache(3 * encoded(0).size)
    texts = {word: prompts.get("clip", word, lambda: encoded(1)) for word in "abc"}
    assert prompts.get("clip", "a", lambda: encoded(2)) is texts["a"]
    assert prompts.get("other encoders", "a", lambda: encoded(3)) is not texts["a"]
    assert prompts.get("clip", "b", lambda: encoded(4)) is not texts["b"], "b was the oldest"
    assert (prompts.hits, prompts.misses, prompts.size) == (1, 5, 3 * encoded(0).size)


def test_a_cache_of_no_size_keeps_nothing() -> None:
    prompts = PromptCache(0)
    for _ in range(2):
        prompts.get("clip", "a", lambda: encoded(1))
    assert (prompts.misses, prompts.size) == (2, 0)
