"""Which components are on the device and which wait in host memory, and their ways between device, host and files."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tintype.diffusion.memory.mover import Mover
from tintype.diffusion.memory.part import Part, Place
from tintype.diffusion.memory.shortage import out_of_memory


class Placement:
    """The components that are on the device or in host memory, the one needed longest ago first.

    What leaves the device waits in host memory, up to `host_budget` bytes of it, and else in its files.
    """

    def __init__(self, mover: Mover, host_budget: int, clock: Callable[[], float]) -> None:
        self._mover = mover
        self._host_budget = host_budget
        self._clock = clock
        #: In the order in which they were last needed.
        self._parts: dict[str, Part] = {}

    def at(self, place: Place) -> list[Part]:
        """Those in one place. Any thread may ask."""
        return [part for part in list(self._parts.values()) if part.place is place]

    def idle(self, besides: Part) -> list[Part]:
        """Those on the device that could leave it for this one."""
        return [part for part in self.at(Place.DEVICE) if not part.stays and part is not besides]

    def touch(self, part: Part) -> None:
        """It is needed now: the last one to leave."""
        part.used_at = self._clock()
        self._parts[part.key] = self._parts.pop(part.key, part)

    def bring(self, part: Part) -> None:
        """To the device, from host memory or out of its files; raises what the move raises.

        If the device has less room than was thought, everything else makes way, and it is tried once more.
        """
        try:
            self._arrive(part)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self.relieve(part)  # somebody else's program has taken of it meanwhile
            self._arrive(part)
        part.place = Place.DEVICE
        self._parts[part.key] = part

    def relieve(self, besides: Part) -> bool:
        """Have everything leave that nobody needs just now, besides this one; whether there was any such thing."""
        idle = self.idle(besides)
        for part in idle:
            self.evict(part, besides)
        self._mover.trim()
        return bool(idle)

    def evict(self, part: Part, coming: Part) -> None:
        """Off the device: into host memory, where others than the coming one make room for it, or out altogether."""
        waiting = [one for one in self.at(Place.HOST) if one is not coming]
        free = self._host_budget - sum(one.size for one in self.at(Place.HOST))
        if free + sum(one.size for one in waiting) < part.size:
            self._drop(part)
            return
        while free < part.size:
            free += waiting[0].size
            self._drop(waiting.pop(0))
        part.module = self._mover.leave(part.module)
        part.place = Place.HOST

    def tidy(self, keep_alive: float | None) -> None:
        """Have what was not needed for so many seconds leave, for its files at once; None: for each part's own."""
        for part in list(self._parts.values()):
            limit = (part.keep_alive or inf) if keep_alive is None else keep_alive
            if not part.stays and self._clock() - part.used_at > limit:
                self._drop(part)

    def _arrive(self, part: Part) -> None:
        module = part.module if part.place is Place.HOST else part.build()
        try:
            part.module = self._mover.arrive(module)
        except RuntimeError:
            if part.place is Place.HOST:
                self._drop(part)  # some of it has arrived, and nobody knows which
            raise

    def _drop(self, part: Part) -> None:
        part.module, part.place = None, Place.DISK
        del self._parts[part.key]
