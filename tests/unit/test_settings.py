"""Settings from the environment, as only the CLI reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click import UsageError

from tintype.checkpoints.weights import WeightsSpec
from tintype.cli.options import load_settings
from tintype.errors import ConfigurationInvalid
from tintype.hub.registry import build_registry


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_FETCH_ALLOW", "localhost, pictures.lan:9000")
    assert load_settings().inputs.fetch_allow == {"localhost", "pictures.lan:9000"}


@pytest.mark.parametrize("name", ["data", "models", "models_folder", "safety_weights", "blocked_prompts"])
def test_an_empty_path_is_not_the_folder_that_one_is_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files leave it so: `TINTYPE_MODELS: ${MODELS:-}`."""
    unset = load_settings()
    monkeypatch.setenv(f"TINTYPE_{name.upper()}", "")
    assert load_settings() == unset


@pytest.mark.parametrize("name", ["host", "ray_address", "ray_namespace", "fleet", "safety", "port", "lease"])
def test_what_can_not_be_empty_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty host would listen everywhere."""
    monkeypatch.setenv(f"TINTYPE_{name.upper()}", "")
    with pytest.raises(UsageError, match=f"TINTYPE_{name.upper()}: "):
        load_settings()


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_PORT", "9000")
    assert load_settings().web.port == 9000
    assert load_settings(port=7).web.port == 7
    assert load_settings(port=None).web.port == 9000


def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_LEASE", "-1")
    with pytest.raises(UsageError, match=r'^TINTYPE_LEASE: "-1" was set; allowed is a number of seconds above 0$'):
        load_settings()


def test_a_fleet_that_is_smaller_than_its_least_is_refused() -> None:
    assert load_settings(fleet_min=4).fleet.max_workers == 4
    with pytest.raises(UsageError, match=r"^TINTYPE_FLEET_MAX: fleet.min_workers is 5: fleet.max_workers can'"):
        load_settings(fleet_min=5)


@pytest.mark.parametrize("half", [{"storage_key_id": "key"}, {"storage_secret": "hush"}])
def test_half_a_pair_of_keys_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET go together") as error:
        load_settings(**half)
    assert "hush" not in error.value.message


@pytest.mark.parametrize(
    ("place", "fits"),
    [
        ("s3://pictures", True),
        ("s3://pictures/", True),
        ("s3://Pictures_2.example/team a/täglich+1=", True),
        ("s3://pictures/a//b", False),
        ("s3://pictures/../other", False),
        ("s3://pictures/a?versionId=1", False),
        ("s3://pictures/a#b", False),
        ("s3://pictures/a%20b", False),
        ("s3://key:secret@pictures/a", False),
        ("s3://pictures:9000/a", False),
        ("s3://p", False),
        ("s3:///a", False),
        ("https://pictures.s3.amazonaws.com", False),
        ("pictures", False),
    ],
)
def test_buckets(place: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_STORAGE_URL", place)
    if fits:
        assert load_settings().storage.url == place
        return
    with pytest.raises(UsageError, match=r"^TINTYPE_STORAGE_URL: .* was set; allowed is s3://bucket") as error:
        load_settings()
    assert "secret" not in error.value.message


def test_the_bootstrap_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_BOOTSTRAP_KEY", "SG_0123456789abcdef")
    assert "0123" not in repr(load_settings())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "TINTYPE_WEIGHTS",
            "/models/sd15",
            'TINTYPE_WEIGHTS: "/models/sd15" was set; allowed is JSON, such as {"sd1.5-img2img": "/models/sd15"}',
        ),
        ("TINTYPE_WEIGHTS", '{"sd15": "/"}', "TINTYPE_WEIGHTS: no model is called sd15; the models are sd1.5-img2img,"),
        ("TINTYPE_PRICES", '{"sd15": 1}', "TINTYPE_PRICES: no model is called sd15; the models are sd1.5-img2img,"),
        (
            "TINTYPE_PRICES",
            '{"sd1.5-img2img": -1}',
            "TINTYPE_PRICES: sd1.5-img2img.dollars: -1 was set; Input should be greater than",
        ),
        (
            "TINTYPE_PRICES",
            '{"sd1.5-img2img": {"dollars": 1, "per": "hour"}}',
            "TINTYPE_PRICES: sd1.5-img2img.per: \"hour\" was set; Input should be 'picture' or 'second'",
        ),
        ("TINTYPE_PIN", "sd15", "TINTYPE_PIN: no model is called sd15; the models are sd1.5-img2img,"),
        (
            "TINTYPE_MEMORY",
            "-1",
            'TINTYPE_MEMORY: "-1" was set; allowed is auto, or a number above 0',
        ),
        ("TINTYPE_T5", "gpu", 'TINTYPE_T5: "gpu" was set; allowed is device, cpu or none'),
        (
            "TINTYPE_TRUSTED_PROXIES",
            "127.0.0.0/8,*",
            "TINTYPE_TRUSTED_PROXIES: \"*\" was set; '*' is neither an address nor a network",
        ),
        ("TINTYPE_TRUSTED_PROXIES", "proxy.lan", "TINTYPE_TRUSTED_PROXIES: "),
        ("TINTYPE_TRUSTED_PROXIES", "10.0.0.0/33", "TINTYPE_TRUSTED_PROXIES: "),
        *(
            ("TINTYPE_PUBLIC_URL", address, f'TINTYPE_PUBLIC_URL: "{address}" was set; allowed is an address such as ')
            for address in (
                "example.com",
                "//x",
                "ftp://x/",
                "not a url",
                "http://",
                "http://:80",
                "http://a b",
                "http://a?b=c",
                "http://a/#",
                "http://a:99999",
                "http://[::1",
                "http://a/<b>",
            )
        ),
        (
            "TINTYPE_PUBLIC_URL",
            "http://user:pass@a",
            "TINTYPE_PUBLIC_URL: a text with a user or password in it was set",
        ),
        (
            "TINTYPE_STORAGE_ENDPOINT",
            "s.lan:9000",
            'TINTYPE_STORAGE_ENDPOINT: "s.lan:9000" was set; allowed is an address',
        ),
        (
            "TINTYPE_CORS_ORIGINS",
            "https://App.example/",
            'TINTYPE_CORS_ORIGINS: "https://App.example/" was set; https://App.example/ is no origin',
        ),
        ("TINTYPE_CONNECTIONS", "many", 'TINTYPE_CONNECTIONS: "many" was set; allowed is a whole number, 1 or more'),
        *(
            (f"TINTYPE_{name}", value, f'TINTYPE_{name}: "{value}" was set; allowed is ')
            for name in ("MAX_BODY", "SYNC_WAIT", "MAX_PICTURE_BYTES", "MAX_PICTURE_PIXELS", "FETCH_TIMEOUT")
            for value in ("0", "-1")
        ),
        ("TINTYPE_WEB_GRACE", "-1", 'TINTYPE_WEB_GRACE: "-1" was set; allowed is a number of seconds, 0 or more'),
        *(
            (f"TINTYPE_{name}", "inf", f'TINTYPE_{name}: "inf" was set; allowed is a finite number')
            for name in ("SYNC_WAIT", "HEAD_TIMEOUT", "TRANSFER_IDLE", "TRANSFER_RATE", "DECODE_TIMEOUT")
        ),
        ("TINTYPE_KEY_STREAMS", "8", "TINTYPE_KEY_STREAMS is no setting any more: TINTYPE_ACCOUNT_WAITS bounds"),
        ("TINTYPE_PROT", "9000", "TINTYPE_PROT is not a setting; did you mean TINTYPE_PORT?"),
        ("tintype_boostrap_key", "x", "tintype_boostrap_key is not a setting; did you mean TINTYPE_BOOTSTRAP_KEY?"),
        ("TINTYPE_WEB_PORT", "9000", "TINTYPE_WEB_PORT is not a setting; did you mean TINTYPE_PORT?"),
        ("TINTYPE_BOGUS", "1", "TINTYPE_BOGUS is not a setting; `tintype config show` lists them all"),
        ("TINTYPE_PORT", "abc", 'TINTYPE_PORT: "abc" was set; allowed is a whole number from 0 to 65535'),
        ("TINTYPE_DATABASE_URL", "no-scheme", "TINTYPE_DATABASE_URL is written like postgresql+psycopg://"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises((UsageError, ConfigurationInvalid)) as refused:
        build_registry(load_settings())
    assert refused.value.message.startswith(words)


@pytest.mark.parametrize(
    "address", ["", "http://a", "https://a.example:8443/tintype/", "HTTP://A", "http://[::1]:8", "http://10.0.0.1:8000"]
)
def test_addresses_of_the_server(address: str) -> None:
    assert load_settings(public_url=address).web.public_url == address


def test_weights_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINTYPE_WEIGHTS", json.dumps({"sd1.5-img2img": str(tmp_path)}))
    weights = WeightsSpec(tmp_path)
    assert build_registry(load_settings()).weights == dict.fromkeys(
        ("sd1.5-img2img", "sd1.5-txt2img", "sd1.5-inpainting"), weights
    )
