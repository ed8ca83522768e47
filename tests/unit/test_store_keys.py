"""What a key may do, and which secrets are keys."""

import pytest

from tintype.errors import BadRequest
from tintype.store.accounts.keys import Key, check, digest, draw


def key(models: tuple[str, ...] | None = None, read_only: bool = False) -> Key:
    return Key("id", "account", "name", "SG_1a2b", models, read_only, 0.0, None, None)


@pytest.mark.parametrize(
    ("one", "may"),
    [
        (key(), True),
        (key(models=("sd3", "sd15")), True),
        (key(models=("sd15",)), False),
        (key(models=()), False),
        (key(read_only=True), False),
        (key(models=("sd3",), read_only=True), False),
    ],
)
def test_may_run(one: Key, may: bool) -> None:
    assert one.may_run("sd3") is may


@pytest.mark.parametrize(
    ("expires", "revoked", "state"),
    [(None, None, "in force"), (2.0, None, "in force"), (1.0, None, "expired"), (0.5, 0.2, "revoked")],
)
def test_state(expires: float | None, revoked: float | None, state: str) -> None:
    assert Key("id", "account", "name", "SG_1a2b", None, False, 0.0, expires, revoked).state(1.0) == state


def test_drawn_secrets_are_valid_and_differ() -> None:
    first, second = draw(), draw()
    check(first)
    assert first != second
    assert first.startswith("SG_")
    assert len(first) == 35


@pytest.mark.parametrize(
    "secret", ["", "SG_", "SG_12345678901", "Sg_123456789012", "SG_123456789_12", "SG_123456789012\n"]
)
def test_secrets_that_clients_would_refuse_are_refused_without_repeating_them(secret: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(secret)
    assert len(secret) <= 3 or secret not in refused.value.message


@pytest.mark.parametrize("secret", ["SG_123456789012", "sg_abcDEF123456"])
def test_both_prefixes_are_taken(secret: str) -> None:
    check(secret)


def test_the_digest_is_sha256_in_hex() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
