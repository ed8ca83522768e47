"""What real processes sign: every format and way to an image, chains of images, and a signer that fails."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.harness import Server, done, here, until
from tests.acceptance.test_http_helpers import OLD, TEXT, new_key, opened, quick, result, submit
from tests.image_files import saved
from tests.integration.test_marker import Listener
from tests.unit.test_provenance import OURS, actions, active, report
from tintype.catalog.formats import FORMATS
from tintype.media.images import read_note
from tintype.media.provenance.source import carrier

PROMPT = "a fox that nobody may know of"
#: A signer in a module of its own, that answers while there is a file next to it.
SIGNER = """
from pathlib import Path
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

FOLDER = Path(__file__).parent
KEY = load_pem_private_key((FOLDER / "key.pem").read_bytes(), None)

def sign(data):
    if not (FOLDER / "answers").exists():
        raise ConnectionError("the KMS is away")
    return KEY.sign(data, ec.ECDSA(hashes.SHA256()))
"""


@pytest.fixture
def roots(server: Server) -> str:
    return server.http(None).get("/v1/verify/roots.pem").text


def img2img(http: httpx2.Client, image: bytes, **changes: Any) -> bytes:
    body = {"prompt": PROMPT, "image": b64encode(image).decode(), "seed": 1, "strength": 0.2, **changes}
    answer = http.post(f"/v1/{OLD}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("kind", [*FORMATS])
def test_each_format_is_signed_by_this_server(server: Server, roots: str, kind: str) -> None:
    http = server.http()
    body = result(http, submit(http, TEXT, quick(prompt=PROMPT, image_format=kind))).json()
    [image] = body["images"]
    data = http.get(image["url"]).content
    assert image["file_size"] == str(len(data))
    said = report(data, roots)
    assert said["validation_state"] == "Trusted"
    [created] = actions(active(said))
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert created["parameters"]["org.tintype.model"] == TEXT
    for secret in (PROMPT, body["request_id"], http.headers["x-api-key"]):
        assert secret not in json.dumps(said)
    assert json.loads(read_note(data))["order"]["prompt"] == PROMPT
    assert b"digitalsourcetype/trainedAlgorithmicMedia" in data


def test_answers_in_base64_and_repeats_are_the_one_file(server: Server, roots: str) -> None:
    http, once = server.http(), {"idempotency-key": "signed-once"}
    first, again = (http.post(f"/v1/{TEXT}", json=quick(base64=True), headers=once) for _ in range(2))
    data = b64decode(first.json()["image"])
    assert report(data, roots)["validation_state"] == "Trusted"
    assert b64decode(again.json()["image"]) == data
    kept = http.get(f"/v2/requests/{first.headers['x-request-id']}").json()
    assert http.get(kept["images"][0]["url"]).content == data


def test_what_an_image_was_made_of_is_kept(server: Server, roots: str) -> None:
    http = server.http()
    drawn = img2img(http, saved(Image.new("RGB", (64, 64), "blue")))
    made = active(report(drawn, roots))
    assert [one["action"] for one in actions(made)] == ["c2pa.opened", "c2pa.edited"]
    assert [one["relationship"] for one in made["ingredients"]] == ["parentOf"]
    chained = report(img2img(http, drawn), roots)
    assert (chained["validation_state"], len(chained["manifests"])) == ("Trusted", 2)
    over = report(img2img(http, drawn, strength=1), roots)
    assert (over["validation_state"], len(over["manifests"])) == ("Trusted", 2)
    assert [one["action"] for one in actions(active(over))] == ["c2pa.created"]
    assert [one["relationship"] for one in active(over)["ingredients"]] == ["inputTo"]


def test_inputs_with_damaged_manifests_are_drawn_and_signed(server: Server, roots: str) -> None:
    http, plain = server.http(), saved(Image.new("RGB", (64, 64), "blue"), "JPEG")
    own = bytearray(img2img(http, plain))
    own[own.index(b"c2pa.actions") + 20] ^= 255
    for damaged in (bytes(own), plain + b"jumb" * 100):
        assert carrier(damaged)
        assert report(img2img(http, damaged), roots)["validation_state"] == "Trusted"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as found:
        yield found


def test_an_address_in_an_input_is_never_fetched(server: Server, roots: str, listener: Listener) -> None:
    """By a worker, which signs it as an ingredient; `test_marker.py` shows that c2pa would."""
    assert report(img2img(server.http(), listener.image()), roots)["validation_state"] == "Trusted"
    assert listener.calls == []


def test_a_rotation_amid_requests_leaves_every_image_trusted(server: Server) -> None:
    http = server.http()
    before = [submit(http, TEXT, quick(seed=seed)) for seed in range(4)]
    assert "signs from now on" in server.cli("marks", "rotate")
    after = [submit(http, TEXT, quick(seed=seed)) for seed in range(4)]
    files = [http.get(result(http, id).json()["output"]).content for id in before + after]
    roots = http.get("/v1/verify/roots.pem").text
    assert [report(data, roots)["validation_state"] for data in files] == ["Trusted"] * 8
    assert server.cli("marks", "roots") == roots
    listed = json.loads(server.cli("marks", "show", "--json"))
    assert [one["state"] for one in listed] == ["trusted", "signs"]


def test_a_test_key_s_images_say_that_no_ai_drew_them(server: Server, roots: str) -> None:
    answer = server.http(new_key(server, 0, test=True)).post(f"/v1/{TEXT}", json=quick())
    said = report(answer.content, roots)
    assert (answer.headers["x-mode"], said["validation_state"]) == ("test", "Trusted")
    assert [one["digitalSourceType"].rpartition("/")[2] for one in actions(active(said))] == ["algorithmicMedia"]


def test_an_upload_stays_as_it_was_sent(server: Server) -> None:
    http, data = server.http(), saved(Image.new("RGB", (64, 64), "red"))
    [address] = http.post("/upload-asset", json={"data_urls": [b64encode(data).decode()]}).json()["file_urls"]
    assert http.get(address).content == data


def test_commands_sign_with_the_folders_signer(server: Server, roots: str, tmp_path: Path) -> None:
    env = {"TINTYPE_WEIGHTS": str(server.settings["weights"]), "TINTYPE_DTYPE": "float32"}
    where = ["--data", server.data, "-o"]
    asked = ["--prompt", PROMPT, "--seed", 1, "--width", 64, "--height", 64, "--steps", 2, "--exact"]
    done(here("generate", TEXT, *asked, *where, tmp_path / "made.png", **env))
    assert report((tmp_path / "made.png").read_bytes(), roots)["validation_state"] == "Trusted"
    replayed = here("replay", tmp_path / "made.png", *where, tmp_path / "again.png", **env)
    assert done(replayed) == "identical"
    assert report((tmp_path / "again.png").read_bytes(), roots)["validation_state"] == "Trusted"
    done(here("generate", TEXT, *asked, *where, tmp_path / "plain.png", TINTYPE_MARK="off", **env))
    plain = (tmp_path / "plain.png").read_bytes()
    assert (carrier(plain), b"digitalsourcetype" in plain) == (None, False)
    assert opened(plain).tobytes() == opened((tmp_path / "made.png").read_bytes()).tobytes()


def test_a_signer_that_fails_costs_nobody_money_and_leaves_no_image(
    new_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it signs again, which is tried by the requests after it."""
    for name, text in (("chain.pem", OURS.chain + OURS.root), ("key.pem", OURS.key), ("kms_of_a_test.py", SIGNER)):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    own = {"mark_certificate": tmp_path / "chain.pem", "mark_signer": "kms_of_a_test:sign", "mark_timeout": 0}
    server = new_server(**own).start()
    http, before = server.http(), server.money()
    failed = http.post(f"/v1/{TEXT}", json=quick())
    assert (failed.status_code, "can't be signed" in failed.json()["error"]) == (500, True)
    refused = http.post(f"/v1/{TEXT}", json=quick())
    assert (refused.status_code, "can't be signed" in refused.json()["error"]) == (500, True)
    assert (server.money(), [*(server.data / "outputs").glob("*.*")]) == (before, [])
    (tmp_path / "answers").touch()
    until(lambda: http.post(f"/v1/{TEXT}", json=quick()).status_code == 200)
    answer = http.post(f"/v1/{TEXT}", json=quick())
    assert report(answer.content, OURS.root)["validation_state"] == "Trusted"
    assert http.post("/v1/verify", files={"file": answer.content}).json()["signature"]["status"] == "here"
    server.stop()
