"""A part: one component of a model, wherever it is, and the passes through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.diffusion.memory.peaks import Pass
from tintype.diffusion.memory.shortage import out_of_memory

if TYPE_CHECKING:
    from tintype.diffusion.memory.residency import Residency

T = TypeVar("T")


class Place(StrEnum):
    """Where a component is."""

    DEVICE = "device"
    #: In host memory: pinned, where there is a GPU that fetches from it.
    HOST = "host"
    #: Nowhere but in its files.
    DISK = "disk"


@dataclass(frozen=True)
class Work:
    """A pass through a component: what for, and over what."""

    kind: str
    height: int
    width: int
    rows: int
    #: Bytes that it needs beside the weights, as long as nobody has measured it.
    guess: int


class Part:
    """One component of a model, wherever it is; models whose numbers are the same have the same one."""

    def __init__(
        self, memory: Residency, key: str, name: str, size: int, build: Callable[[], Any], itemsize: int
    ) -> None:
        self.memory = memory
        #: Equal keys hold equal numbers of one type.
        self.key = key
        self.name = name
        #: Bytes of its weights.
        self.size = size
        #: Makes the module in host memory, out of its files.
        self.build = build
        #: Bytes of one number.
        self.itemsize = itemsize
        self.module: Any = None
        self.place = Place.DISK
        #: Seconds after which it leaves if nobody needs it; 0 is never, as is None: nobody has said.
        self.keep_alive: float | None = None
        #: How many need it where it is; without any it may have to leave.
        self.leases = 0
        #: Whether it never leaves the device.
        self.pinned = False
        #: When it was last needed, on the memory's clock.
        self.used_at = 0.0

    @property
    def stays(self) -> bool:
        """Whether it may not leave the device now."""
        return self.pinned or self.leases > 0

    def run(self, work: Work, module: Callable[[Any], T]) -> T:
        """One pass: `module` is called with the module on the device, while there is room for it; raises NoRoom.

        If the device has less room than was thought, everything else makes way, and it is tried once more.
        """
        try:
            return self._run(work, module)
        except RuntimeError as error:
            if not out_of_memory(error) or not self.memory.relieve(self):
                raise
        return self._run(work, module)

    def expects(self, work: Work) -> int:
        """Bytes that such a pass is taken to need beside the weights."""
        return self.memory.peaks.expect(self._kind(work), work.guess)

    def _run(self, work: Work, module: Callable[[Any], T]) -> T:
        with self.memory.lease(self, self._kind(work), work.guess):
            return module(self.module)

    def _kind(self, work: Work) -> Pass:
        return Pass(self.key, work.kind, work.height, work.width, work.rows)
