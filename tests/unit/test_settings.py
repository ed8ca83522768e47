"""Settings from the environment, as only the CLI reads them."""

from __future__ import annotations

import pytest
from click import UsageError

from tintype.cli.options import load_settings


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_FETCH_ALLOW", "localhost, pictures.lan:9000")
    assert load_settings().fetch_allow == {"localhost", "pictures.lan:9000"}


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_PORT", "9000")
    assert load_settings().port == 9000
    assert load_settings(port=7).port == 7
    assert load_settings(port=None).port == 9000


def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_LEASE", "-1")
    with pytest.raises(UsageError, match="lease: Input should be greater than 0"):
        load_settings()


def test_the_bootstrap_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_BOOTSTRAP_KEY", "SG_0123456789abcdef")
    assert "0123" not in repr(load_settings())
