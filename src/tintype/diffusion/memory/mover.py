"""What brings modules to a device and back, as the memory of that device sees it."""

from __future__ import annotations

from typing import Any, Protocol


class Mover(Protocol):
    """Brings modules to a device and back."""

    def arrive(self, module: Any) -> Any:
        """The module, on the device."""

    def leave(self, module: Any) -> Any:
        """The module, in host memory."""

    def trim(self) -> None:
        """Give back what the allocator keeps for later."""


class Stay:
    """The mover of the CPU, where a module is at work in the memory that it was built in."""

    def arrive(self, module: Any) -> Any:
        """The module as it is."""
        return module

    def leave(self, module: Any) -> Any:
        """The module as it is."""
        return module

    def trim(self) -> None:
        """Nothing: what is no longer used is the system's again."""
