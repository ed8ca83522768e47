"""Clients made from a real server's `/openapi.json`, as docs/api.md says, and what they do with that server."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import node
from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import new_key, opened
from tests.image_files import saved
from tintype.catalog.models import MODELS

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/api.md").read_text("utf-8")
PNG = saved(Image.new("RGB", (8, 8), "red"))
DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
WEBHOOK = {"webhook_url": "https://receiver.example.com/hook", "event": {"types": ["REQUEST_COMPLETED"]}}
#: What the program in TypeScript prints.
PRINTED = """\
made image/jpeg
status COMPLETED
image 255,216 0.0035
base64 2 2
several 2
cancelled true
refused 400 Correct the request and send it again; nothing was queued or charged.
uploaded 1
webhook true REQUEST_COMPLETED
history true
ledger grant,settle,settle,settle,settle
"""
COMPILED = {
    "compilerOptions": {"strict": True, "target": "es2022", "module": "nodenext", "types": [], "skipLibCheck": True},
    "files": ["client.ts"],
}


@pytest.fixture(scope="module")
def document(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server says of itself, in a folder of its own."""
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(server.http(None).get("/openapi.json").content)
    return path


def generate(document: Path, package: str, config: str = "") -> subprocess.CompletedProcess[str]:
    """Make a package next to the document; any warning is an exit code of 1."""
    settings = document.with_name("client.yml")
    settings.write_text(config + "post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    named = {"--path": document, "--config": settings, "--output-path": document.with_name(package)}
    words = [str(word) for pair in named.items() for word in pair]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def modules(document: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The modules of generated packages."""
    monkeypatch.syspath_prepend(document.parent)
    return importlib.import_module


def connected(modules: Callable[[str], Any], package: str, server: Server) -> Any:
    """A generated client with a new account's key."""
    kind, secret = modules(f"{package}.client").AuthenticatedClient, new_key(server, 1)
    more = {"timeout": 120, "httpx_args": {"trust_env": False}}
    return kind(server.address, secret, prefix="", auth_header_name="x-api-key", **more)


def test_openapi_python_client(server: Server, document: Path, modules: Callable[[str], Any]) -> None:
    done = generate(document, "told", re.search(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)[1])
    assert done.returncode == 0, done.stdout + done.stderr
    models, file = modules("told.models"), modules("told.types").File

    def call(operation: str, *path: str, **named: Any) -> Any:
        return modules(f"told.api.{operation}").sync_detailed(*path, client=client, **named)

    def answer(operation: str, *path: str, **named: Any) -> Any:
        return call(operation, *path, **named).parsed

    with connected(modules, "told", server) as client:
        run, submit = (f"images.{verb}_stable_diffusion_35_turbo_txt_2_img" for verb in ("run", "submit"))
        # A sampler that no list offers, and that the server takes.
        sampler = models.StableDiffusion35TurboTxt2ImgSampler("euler_pp")
        small = {"width": 128, "height": 128, "steps": 2, "seed": 2**62}
        asked = models.StableDiffusion35TurboTxt2ImgParams(prompt="a fox", sampler=sampler, **small)
        submitted = answer(submit, body=asked, idempotency_key="once")
        assert isinstance(submitted, models.Submitted)
        id = submitted.request_id
        until(lambda: isinstance(answer("requests.get_request_status", id), models.Completed))
        result = answer("requests.get_request", id)
        assert isinstance(result, models.Result)
        assert (result.seed, result.metrics.cost, len(result.images)) == (str(2**62), 0.0035, 1)
        image = answer("files.get_file", result.images[0].file_name)
        assert opened(image.payload.read()).size == (128, 128)

        image = call(run, body=asked)
        assert image.headers["x-cost"] == "0.0035"
        assert opened(image.parsed.payload.read()).size == (128, 128)
        asked.base64 = True
        assert json.loads(answer(run, body=asked).payload.read())["outputs"] == 1

        form = models.Sd15Img2ImgForm(image=file(io.BytesIO(PNG), "a.png"), prompt="a fox")
        waiting = answer("images.submit_sd_15_img_2_img", body=form, cancel_after=60.5)
        assert answer("requests.cancel_request", waiting.request_id).request_id == waiting.request_id
        until(lambda: isinstance(answer("requests.get_request", waiting.request_id), models.Failed))

        wrong = models.StableDiffusion35TurboTxt2ImgParams(prompt="a fox", steps=100)
        refused = call(run, body=wrong)
        assert refused.status_code == 400
        assert refused.parsed.error.startswith("steps: 100 was sent")

        uploaded = answer("files.upload_assets", body=models.NewUploads([DATA_URL]))
        assert len(uploaded.file_urls) == 1
        added = answer("webhooks.add_webhook", body=models.NewWebhook.from_dict(WEBHOOK))
        assert added.webhook.is_active
        assert id in {row.request_id for row in answer("history.list_history").data}
        assert {row.kind for row in answer("account.list_ledger").data} == {"grant", "settle"}
        assert answer("account.get_credits").credits_ < 1
        assert len(answer("models.list_models").models) == len(MODELS)


def test_a_client_that_knows_no_images_has_types_for_v1s_json(
    server: Server, document: Path, modules: Callable[[str], Any]
) -> None:
    done = generate(document, "untold")
    assert re.findall(r"^WARNING .*", done.stdout + done.stderr, re.M) == [
        "WARNING parsing GET /files/{name} within files.",
        "WARNING parsing POST /v2/images/zip within files.",
    ]
    models = modules("untold.models")
    asked = models.StableDiffusion35TurboTxt2ImgParams("a fox", width=128, height=128, steps=2, base64=True)
    with connected(modules, "untold", server) as client:
        run = modules("untold.api.images.run_stable_diffusion_35_turbo_txt_2_img")
        images = run.sync(client=client, body=asked)
    assert isinstance(images, models.ImagesInBase64)
    assert opened(base64.b64decode(images.image)).size == (128, 128)


def test_openapi_typescript_and_openapi_fetch(server: Server, document: Path) -> None:
    folder = document.with_name("typescript")
    folder.mkdir()
    (folder / "node_modules").symlink_to(node.ROOT / "node_modules")
    (folder / "client.ts").write_bytes((HERE / "generated_client.ts").read_bytes())
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps(COMPILED))
    flags = re.search(r"openapi-typescript \S+ (--\S+)", PAGE)[1]
    for command in (["openapi-typescript", str(document), flags, "-o", "api.d.ts"], ["tsc", "-p", "."]):
        done = node.run(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower()
    program = ["node", "client.js", server.address, new_key(server, 1), DATA_URL.partition(",")[2]]
    env = {**os.environ, "NO_PROXY": "*"}
    done = subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == (PRINTED, "")


def test_linters_have_nothing_to_say(document: Path) -> None:
    assert node.openapi_problems(document.read_bytes()) == ""
