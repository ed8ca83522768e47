"""Which devices are worked on, without asking torch where there is no GPU driver."""

from __future__ import annotations

import pytest

from tintype import fleet


def test_named_devices() -> None:
    assert fleet.devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]


def test_auto_without_a_driver_is_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: object) -> None:
    monkeypatch.setattr(fleet, "DRIVER", fleet.Path("/nonexistent"))
    assert fleet.devices("auto") == ["cpu"]
