"""The command line in processes of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click import Context, Group, Option
from click.testing import CliRunner, Result
from PIL import Image

from tests.acceptance.harness import Server, done, here, until, words
from tests.toy_weights import BUILTIN, small_setting, toy_setting, toy_weights
from tintype.catalog.builtin import vocabulary
from tintype.catalog.models import MODELS, SD15_IMG2IMG
from tintype.cli import main
from tintype.cli import tintype as root
from tintype.cli.demo import WORLD
from tintype.cli.generate import model_command
from tintype.cli.local import write_output
from tintype.client import Client, RequestFailed, ServerRefused
from tintype.errors import BadRequest
from tintype.media.samples import draw as draw_sample
from tintype.settings import Settings

TEXT = "stable-diffusion-3.5-turbo-txt2img"


def tintype(*arguments: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tintype", *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "200", **env}
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=150, env=wide)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


def test_generate_is_reproducible_and_several_pictures_are_seeds_apart(data: Path, weights: Path) -> None:
    toys = {"TINTYPE_WEIGHTS": toy_setting(weights)}
    slug = "stable-diffusion-3.5-turbo-txt2img"
    common = ["--prompt", "a fox", "--width", 128, "--height", 64, "--steps", 3, "--dtype", "float32", "--data", data]
    made = tintype("generate", slug, *common, "--seed", 41, "--batch-size", 2, "-o", data / "two.png", **toys)
    assert "seed 41" in made.stdout
    assert "seed 42" in made.stdout
    done(here("generate", slug, *common, "--seed", 42, "-o", data / "one.png", **toys))
    with Image.open(data / "two-2.png") as second, Image.open(data / "one.png") as alone:
        assert second.size == alone.size == (128, 64)
        differences = [abs(a - b) for a, b in zip(second.tobytes(), alone.tobytes(), strict=True)]
    assert max(differences) <= 1


def test_generate_takes_a_local_picture(data: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(data / "in.png")
    out = data / "out.webp"
    source = ["--image", data / "in.png", "--strength", 0.1]
    done(here("generate", "sd1.5-img2img", "--prompt", "x", *source, "-o", out, "--data", data))
    with Image.open(out) as image:
        assert (image.format, image.size) == ("WEBP", (512, 512))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "x", "--steps", "71"], "steps: '71' was sent; allowed: a whole number from 1 to 70"),
        (["--prompt", "x", "-o", "out.exe"], "--output: 'out.exe' was sent; allowed: a name that ends in"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str) -> None:
    failed = tintype("generate", "stable-diffusion-3.5-turbo-txt2img", *arguments, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"tintype: {words}")
    assert failed.stderr.count("\n") == 1


def test_every_help_page_has_an_example() -> None:
    pages = [([], root)]
    for path, command in pages:
        if isinstance(command, Group):
            ctx = Context(command)
            pages += [([*path, name], command.get_command(ctx, name)) for name in command.list_commands(ctx)]
    assert len(pages) > 15
    for path, command in pages:
        name = f"tintype {' '.join(path)}"
        assert "Example" in (command.help or ""), name
        page = command.get_help(Context(command, info_name=name, terminal_width=78)).splitlines()
        assert [line for line in page if len(line) > 80] == [], name
        assert [line for line in page[1:] if line.endswith("...")] == [], f"{name}: cut summaries"
        assert [one.name for one in command.params if isinstance(one, Option) and not one.help] == [], name


def test_models() -> None:
    listed = json.loads(tintype("models", "list", "--json").stdout)
    assert [one["slug"] for one in listed] == list(MODELS)
    schema = json.loads(here("models", "show", "sd1.5-img2img", "--json").stdout)
    assert schema["properties"]["num_inference_steps"]["maximum"] == 100
    shown = here("models", "show", "sd1.5-img2img", COLUMNS="200").stdout
    assert "a whole number from 20 to 100" in shown
    assert "built-in weights: a closed world of " in shown
    assert "things on 14 colours, drawn at 128 px and enlarged" in shown
    assert "🦊 fox" in shown
    assert words(here("models", "show", "nope")).startswith("Model nope not found")


def test_models_that_share_their_encoders_take_less_together() -> None:
    each = [one["memory"] for one in json.loads(here("models", "list", "--json", TINTYPE_DTYPE="float32").stdout)]
    said = here("models", "list", TINTYPE_DTYPE="float32").stdout
    together = float(re.search(r"All in one memory: ([\d.]+) MB", said)[1]) * 1e6  # type: ignore[index]
    assert max(each) < together < 0.7 * sum(each)
    halved = [one["memory"] for one in json.loads(here("models", "list", "--json", TINTYPE_DTYPE="bfloat16").stdout)]
    assert [2 * size for size in halved] == each


def test_a_refiner_takes_its_part_of_disk_and_memory(tmp_path: Path, weights: Path) -> None:
    base, refiner = (toy_weights(family, weights) for family in ("sdxl", "sdxl-refiner"))

    def taken(more: str = "") -> tuple[int, int]:
        (tmp_path / "models.toml").write_text(f'[models."sdxl1.0-txt2img"]\nfolder = "{base}"\n{more}')
        rows = json.loads(here("models", "list", "--json", TINTYPE_DATA=str(tmp_path)).stdout)
        return next((one["bytes"], one["memory"]) for one in rows if one["slug"] == "sdxl1.0-txt2img")

    alone, together = taken(), taken(f'refiner = "{refiner}"')
    assert together[0] == alone[0] + sum(one.stat().st_size for one in refiner.rglob("*") if one.is_file())
    assert alone[1] < together[1] < 2 * alone[1], "what they share is there once"


def test_the_vocabulary_is_that_of_the_built_in_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def described() -> list[dict[str, Any]]:
        return [json.loads(here("models", "show", slug, "--json").stdout) for slug in BUILTIN]

    listed = json.loads(here("models", "list", "--json").stdout)
    for one in described() + [one for one in listed if one["slug"] in BUILTIN]:
        assert one["weights"] == "built-in"
        assert len(one["vocabulary"]) >= 350
        assert {"name": "fox", "emoji": "🦊"} in one["vocabulary"]
    monkeypatch.setenv("TINTYPE_WEIGHTS", json.dumps({slug: str(tmp_path) for slug in MODELS}))
    assert not any({"weights", "vocabulary"} & one.keys() for one in described())
    assert "closed world" not in here("models", "show", SD15_IMG2IMG.slug).stdout


@pytest.mark.parametrize("slug", BUILTIN)
def test_the_example_of_each_model_s_help_runs_as_it_stands(
    slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINTYPE_DATA", str(tmp_path / "none"))
    example = (model_command(MODELS[slug]).help or "").partition("Example:\n")[2].replace("\\\n", "")
    made = here(*shlex.split(example)[1:])
    with Image.open(tmp_path / "fox.png") as image:
        assert made.output == f"fox.png  {image.width}×{image.height}  seed 7\n", "no bar in a pipe, and no log lines"
    assert {path.name for path in tmp_path.iterdir()} == {"fox.png", "none"}
    made = {path.name.partition(".")[0] for path in (tmp_path / "none").iterdir()}
    assert made == {"tintype"}, "the database, which has what signs"


def test_the_help_of_a_model_has_its_ranges_choices_and_defaults() -> None:
    page = " ".join(here("generate", SD15_IMG2IMG.slug, "--help").stdout.split())
    assert "[default: 20; from 20 to 100]" in page
    assert "--img-width 512|768" in page
    assert "[default: DDIM; one of DDIM, DPM Multi," in page
    assert "--image FILE|URL The input image: a file, an http(s) URL, " in page
    assert "--base64" not in page


def test_the_help_of_serve_has_the_defaults_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINTYPE_DATA", raising=False)
    page, settings = " ".join(here("serve", "--help").stdout.split()), Settings()
    assert re.findall(r"\[default: ([^]]+)\]", page) == [
        settings.web.host,
        str(settings.web.port),
        f"TINTYPE_DATA, or {settings.data}",
        settings.fleet.kind,
        "--billing" if settings.billing.enabled else "--no-billing",
    ]


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever gets as far as torch fails the test: what is wrong should have been said before."""

    def reached(*_: object) -> None:
        raise AssertionError("it was about to load weights")

    # By its name in `tintype.cli`, the module is hidden by its command.
    monkeypatch.setattr(sys.modules["tintype.cli.generate"], "_run", reached)


@pytest.mark.parametrize("image", ["photo.jpg", "/nope.png", "photos/", "x" * 5000 + ".jpg", "a\0b", "fox1"])
def test_a_picture_that_is_not_there_is_said_at_once(no_drawing: None, image: str) -> None:
    failed = here("generate", SD15_IMG2IMG.slug, "--prompt", "x", "--image", image)
    assert words(failed) == f"no such file: {image[:80]}"


PIXELS = base64.b64encode(draw_sample("/sd-img2img-input.jpeg")).decode()


@pytest.mark.parametrize(
    "image",
    [PIXELS, f"data:image/jpeg;base64,{PIXELS}", "https://example.com/a.jpg", "/sd-img2img-input.jpeg"],
    ids=["base64", "data", "url", "sample"],
)
def test_pictures_that_are_no_files_go_on_as_they_are(no_drawing: None, image: str) -> None:
    result = here("generate", SD15_IMG2IMG.slug, "--prompt", "x", "--image", image)
    assert str(result.exception) == "it was about to load weights"


def test_the_output_is_checked_before_the_drawing(no_drawing: None, tmp_path: Path) -> None:
    def said(output: Path) -> str:
        return words(here("generate", TEXT, "--prompt", "x", "-o", output))

    assert said(tmp_path / "no" / "x.png") == f"--output: no such folder: {tmp_path}/no"
    (tmp_path / "folder.png").mkdir()
    assert said(tmp_path / "folder.png") == f"--output: {tmp_path}/folder.png can't be written: Is a directory"
    assert said(Path("/proc/x.png")).startswith("--output: /proc/x.png can't be written: ")
    assert said(tmp_path / f"{'x' * 300}.png").endswith("File name too long")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_the_ending_of_the_file_decides_on_its_format(no_drawing: None, tmp_path: Path) -> None:
    def said(*options: object) -> str:
        return words(here("generate", TEXT, "--prompt", "x", *options))

    conflict = "--output x.PNG is a png file, and --image-format says webp: leave one of them out"
    assert said("--image-format", "webp", "-o", tmp_path / "x.PNG") == conflict
    assert said("--image-format", "bmp") == "image_format: 'bmp' was sent; allowed: one of jpeg, png, webp, avif"
    assert said("--base64").startswith("--base64 is for calls, whose answers are text: leave it out; `base64 out.png`")
    agreed = here("generate", TEXT, "--prompt", "x", "--image-format", "jpeg", "-o", tmp_path / "x.jpg")
    assert str(agreed.exception) == "it was about to load weights"


def test_a_format_names_the_file_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.webp").mkdir()
    failed = here("generate", TEXT, "--prompt", "x", "--image-format", "webp")
    assert words(failed) == "--output: out.webp can't be written: Is a directory"


def test_a_disk_that_is_full_by_then_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"^--output: /dev/full can't be written: No space left on device$"):
        write_output(Path("/dev/full"), b"x")
    monkeypatch.setattr("sys.argv", ["tintype", "models", "list"])
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        with pytest.raises(SystemExit, match=r"^tintype: the output can't be written: No space left on device$"):
            main()
    with suppress(OSError):  # what is left in its buffer
        full.close()
    (tmp_path / "file").touch()
    failed = here("demo", "--output", tmp_path / "file" / "demo")
    assert words(failed) == f"--output: {tmp_path}/file/demo can't be made: Not a directory"


@pytest.mark.parametrize("device", ["nonsense", "cuda:", "cuda:x", "cpu:0", ""])
def test_what_is_no_device_s_name(no_drawing: None, device: str) -> None:
    allowed = "auto, cpu, cuda, cuda:0, cuda:1, …, xpu, xpu:0, …, mps"
    failed = here("generate", TEXT, "--prompt", "x", "--device", device)
    assert words(failed) == f"--device: {device!r} was sent; allowed: {allowed}"


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_a_device_that_this_machine_lacks(device: str, tmp_path: Path) -> None:
    output = tmp_path / "x.png"
    failed = here("generate", TEXT, "--prompt", "x", "--device", device, "-o", output, "--data", tmp_path)
    assert words(failed) == f"--device {device}: torch finds no such device on this machine"


def test_replay_checks_its_options_too(tmp_path: Path) -> None:
    picture = tmp_path / "plain.png"
    Image.new("RGB", (64, 64)).save(picture)
    assert "--device: 'gpu' was sent" in words(here("replay", picture, "--device", "gpu"))
    assert "no such folder" in words(here("replay", picture, "--weights", tmp_path / "no"))
    assert "no such folder" in words(here("replay", picture, "-o", tmp_path / "no" / "x.png"))


def test_weights_that_are_not_whole_are_said_by_what_is_missing(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "sd3"

    def said() -> str:
        own = ["--weights", folder, "--data", tmp_path, "-o", tmp_path / "x.png", "--device", "cpu"]
        return words(here("generate", TEXT, "--prompt", "x", *own))

    assert said() == f"--weights: no such folder or file: {folder}"
    folder.mkdir()
    assert said() == f"--weights: there is no model_index.json in {folder}"
    (folder / "model_index.json").write_text("{")
    assert (
        said() == f"{folder}: model_index.json can't be read: JSONDecodeError (Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1))"
    )
    shutil.copytree(toy_weights("sd3", weights), folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "vae")
    assert said() == f"{folder}: there is no folder vae in it"
    shutil.copytree(toy_weights("sd3", weights), folder, dirs_exist_ok=True)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    assert "transformer: there is no file of weights in it, such as diffusion_pytorch_model" in said()


@pytest.mark.parametrize(("amount", "sent"), [("nan", "NaN"), ("1e300", "1e+300"), ("inf", "Infinity"), ("-5", "-5.0")])
def test_amounts_that_are_none_change_nothing(tmp_path: Path, amount: str, sent: str) -> None:
    failed = here("accounts", "create", "--name", "x", "--credits", amount, "--data", tmp_path)
    assert words(failed) == f"--credits: {sent} was sent; allowed: dollars from 0 to 1000000000"
    assert list(tmp_path.iterdir()) == []


def test_credit_takes_amounts_only(tmp_path: Path) -> None:
    account = here("accounts", "create", "--name", "studio", "--credits", "25", "--data", tmp_path).stdout.strip()
    for amount in ("nan", "1e300"):
        assert "allowed: dollars from" in words(here("accounts", "credit", account, amount, "--data", tmp_path))
    assert here("accounts", "credit", account, "0.5", "--data", tmp_path).stdout == "studio: $25.5\n"


def test_a_key_needs_an_account(tmp_path: Path) -> None:
    """An account without money, made on the way, would keep `serve` from making the first one."""
    assert words(here("keys", "create", "--data", tmp_path)).startswith("There is no account yet: run `tintype serve`")
    assert json.loads(here("accounts", "list", "--json", "--data", tmp_path).stdout) == []
    here("accounts", "create", "--name", "studio", "--data", tmp_path)
    assert here("keys", "create", "--data", tmp_path).stdout.startswith("SG_")


def test_revoking_never_repeats_a_key(tmp_path: Path) -> None:
    here("accounts", "create", "--name", "studio", "--data", tmp_path)
    secret = here("keys", "create", "--name", "mine", "--data", tmp_path).stdout.strip()
    revoked = here("keys", "revoke", secret, "--data", tmp_path)
    assert revoked.output == f"{secret[:7]}… (mine) no longer works\n"
    said = words(here("keys", "revoke", secret, "--data", tmp_path))
    assert (said.startswith(f"No API key {secret[:7]}… is in force; "), secret in said) == (True, False)


def test_a_key_whose_time_is_over_is_listed_as_expired(tmp_path: Path) -> None:
    here("accounts", "create", "--name", "studio", "--data", tmp_path)
    for days in ("0.0000001", "1"):
        here("keys", "create", "--expires", days, "--data", tmp_path)
    listed = json.loads(here("keys", "list", "--json", "--data", tmp_path).stdout)
    assert [key["state"] for key in listed] == ["expired", "in force"]


@pytest.mark.parametrize("time", ["nan", "inf", "-1", "1e12", "soon"])
@pytest.mark.parametrize("command", [("create", "--expires"), ("rotate", "SG_", "--overlap")])
def test_times_that_nobody_can_mean_are_refused(tmp_path: Path, command: tuple[str, ...], time: str) -> None:
    """A key that ends in the year 2,700,000,000 could not be listed, nor any other of its account."""
    refused = CliRunner().invoke(root, ["keys", *command, time, "--data", str(tmp_path)])
    assert (refused.exit_code, f"Invalid value for '{command[-1]}'" in refused.output) == (2, True), refused.output
    assert list(tmp_path.iterdir()) == []


def test_a_key_s_limits_are_listed_and_kept(tmp_path: Path) -> None:
    account = here("accounts", "create", "--name", "studio", "--credits", 5, "--data", tmp_path).stdout.strip()
    limits = ["--rpm", 60, "--concurrency", 2, "--max-queued", 8, "--max-pixels", 262144, "--spend-cap", 2.5]
    secret = here(
        "keys", "create", "--account", account, "--scopes", "read", *limits, "--data", tmp_path
    ).stdout.strip()
    new = here("keys", "rotate", secret, "--data", tmp_path).stdout.strip()
    [key] = json.loads(here("keys", "list", "--json", "--data", tmp_path).stdout)
    assert new.startswith(key["key"][:-1])
    assert (key["account"], key["scopes"], key["spent"]) == (account, "read", 0)
    assert key["limits"] == "rpm 60, concurrency 2, max-queued 8, max-pixels 262144, spend-cap 2.5"
    assert words(here("keys", "create", "--scopes", "write", "--data", tmp_path)) == (
        "--scopes: 'write' was sent; allowed: read, or read,run"
    )


def test_a_key_s_limits_are_changed_and_lifted(tmp_path: Path) -> None:
    done(here("accounts", "create", "--name", "studio", "--data", tmp_path))
    secret = done(here("keys", "create", "--rpm", 60, "--daily-requests", 9, "--data", tmp_path))

    def update(*limits: object) -> Result:
        return here("keys", "update", secret, *limits, "--data", tmp_path)

    told = done(update("--daily-spend", 2.5, "--rpm", "none", "--max-pixels", 1_000_000))
    limits = "daily-requests 9 (0 today), max-pixels 1000000, daily-spend 2.5 (0 today)"
    assert told == f"{secret[:7]}… (key): {limits}"
    [key] = json.loads(here("keys", "list", "--json", "--data", tmp_path).stdout)
    assert key["limits"] == limits
    assert "Name a limit" in words(update())
    assert "--daily-spend: -1.0 was sent; allowed: dollars from 0" in words(update("--daily-spend=-1"))
    assert "Invalid value for '--rpm'" in words(update("--rpm", "many"))
    assert done(update("--daily-spend", "none", "--max-pixels", "none")).endswith("daily-requests 9 (0 today)")
    assert done(update("--daily-requests", "none")).endswith("no limits of its own")


def test_a_rotation_says_how_long_the_old_key_works_and_how_to_end_it(tmp_path: Path) -> None:
    here("accounts", "create", "--name", "studio", "--data", tmp_path)
    secret = here("keys", "create", "--data", tmp_path).stdout.strip()
    turned = here("keys", "rotate", secret, "--data", tmp_path)
    assert re.fullmatch(r"SG_[0-9a-f]{32}\n", turned.stdout), "nothing else, for KEY=$(tintype keys rotate …)"
    [key] = json.loads(here("keys", "list", "--json", "--data", tmp_path).stdout)
    assert re.match(
        r"The old secret works until 20\d\d-\S+, for 24 more hours. If it leaked, end it now:", turned.stderr
    )
    for command in (f"keys rotate {key['id']} --overlap 0", f"keys revoke {key['id']}"):
        assert f"tintype {command} " in turned.stderr
        done(here(*command.split(), "--data", tmp_path))
    here("keys", "create", "--data", tmp_path)
    [_, other] = json.loads(here("keys", "list", "--json", "--data", tmp_path).stdout)
    ended = here("keys", "rotate", other["id"], "--overlap", 0, "--json", "--data", tmp_path)
    assert ended.stderr == "The old secret no longer works.\n"
    told = json.loads(ended.stdout)
    assert (told["id"], told["secret"][:7]) == (other["id"], told["key"][:7])
    assert told["old_secret_works_until"] <= datetime.now(UTC).isoformat(timespec="seconds")


def test_whatever_is_made_can_be_told_as_json(tmp_path: Path) -> None:
    account = json.loads(done_whole("accounts", "create", "--name", "studio", "--credits", 5, "--data", tmp_path))
    assert (account["name"], account["balance"]) == ("studio", 5)
    key = json.loads(done_whole("keys", "create", "--account", account["id"], "--rpm", 6, "--data", tmp_path))
    assert re.fullmatch(r"SG_[0-9a-f]{32}", key["secret"])
    assert (key["account"], key["limits"], key["old_secret_works_until"]) == (account["id"], "rpm 6", None)


def done_whole(*arguments: object) -> str:
    """All that a command printed, as JSON."""
    result = here(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_tables_in_a_pipe_are_lines_with_whole_ids(tmp_path: Path) -> None:
    account = done(here("accounts", "create", "--name", "studio", "--data", tmp_path))
    here("keys", "create", "--name", "my laptop", "--data", tmp_path)
    [heads, key] = here("keys", "list", "--data", tmp_path, COLUMNS="80").stdout.splitlines()
    cells = dict(zip(re.split(" {2,}", heads), re.split(" {2,}", key), strict=True))
    assert (cells["account"], cells["name"], cells["expires"], cells["state"]) == (
        account,
        "my laptop",
        "-",
        "in force",
    )
    assert re.fullmatch(r"[0-9a-f-]{36}", cells["id"])
    assert "│" not in heads + key
    assert here("workers", "list", "--data", tmp_path).stdout == "nothing yet\n"
    assert here("accounts", "list", "--data", tmp_path).stdout.splitlines()[1].startswith(f"{account}  studio  ")


def test_an_account_s_ledger_is_shown_and_checked(tmp_path: Path) -> None:
    account = here("accounts", "create", "--name", "studio", "--credits", 5, "--data", tmp_path).stdout.strip()
    here("accounts", "credit", account, 2, "--note", "invoice 7", "--data", tmp_path)
    taken = here("accounts", "credit", "--data", tmp_path, "--", account, -1.5)
    assert taken.stdout == "studio: $5.5\n"
    shown = json.loads(here("accounts", "show", account, "--json", "--data", tmp_path).stdout)
    assert (shown["balance"], shown["held"], shown["available"]) == (5.5, 0, 5.5)
    lines = [(line["kind"], line["balance"], line["note"]) for line in shown["ledger"]]
    assert lines == [("adjust", -1.5, ""), ("grant", 2, "invoice 7"), ("grant", 5, "")]
    assert words(here("accounts", "show", "nobody", "--data", tmp_path)) == "Account nobody not found"
    assert "every balance" in here("accounts", "check", "--data", tmp_path).stdout
    with sqlite3.connect(tmp_path / "tintype.db") as db:
        db.execute("UPDATE accounts SET balance = balance + 1")
    db.close()
    broken = here("accounts", "check", "--data", tmp_path)
    assert words(broken) == "1 sums differ from their rows"
    assert f"{account}: balance is $5.500001, but its rows sum to $5.5" in broken.stderr


def test_a_database_that_fails_is_named_to_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tintype.db").mkdir()
    monkeypatch.setattr("sys.argv", ["tintype", "keys", "list", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"^tintype: unable to open database file in {tmp_path}/$"):
        main()
    (tmp_path / "file").touch()
    assert words(here("keys", "list", "--data", tmp_path / "file" / "data")).startswith("the database can't be opened")


def test_a_postgres_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_DATABASE_URL", "postgresql+psycopg://me:secret@127.0.0.1:1/x")
    assert "secret" not in words(here("keys", "list"))


def test_keys(server: Server) -> None:
    secret = server.cli("keys", "create", "--name", "mine").strip()
    assert server.http(secret).get("/v1/get-user-credits").is_success
    [mine] = [key for key in json.loads(server.cli("keys", "list", "--json")) if key["name"] == "mine"]
    assert secret not in json.dumps(mine)
    server.cli("keys", "revoke", mine["id"])
    until(lambda: server.http(secret).get("/v1/get-user-credits").status_code == 401)


def test_a_first_start_prints_its_key_once_and_the_curl_that_works(tmp_path: Path, weights: Path) -> None:
    server = Server(tmp_path, bootstrap_key="", weights=small_setting(weights))
    lines = server.start().printed
    [curl] = [index for index, line in enumerate(lines) if line.strip().startswith("curl")]
    command = "".join(lines[curl : curl + 3]).replace("picture.jpeg", str(tmp_path / "picture.jpeg"))
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=120)
    with Image.open(tmp_path / "picture.jpeg") as image:
        assert image.size == (512, 512)
    secret = next(line for line in lines if line.strip().startswith("SG_")).strip()
    assert f"{server.address}/#key={secret}" in map(str.strip, lines)
    assert server.stop() == 0
    server.settings |= {"bootstrap_key": (other := "SG_ffffffffffffffff"), "fleet": "none"}
    assert not any("SG_" in line for line in server.start(wait_for_worker=False).printed)
    [ignored] = [line for line in server.log.read_text().splitlines() if "TINTYPE_BOOTSTRAP_KEY was ignored" in line]
    assert json.loads(ignored)["instead"] == "tintype keys create --operator"
    assert other not in ignored
    assert server.http(secret).get("/v1/get-user-credits").json()["credits"] == pytest.approx(1000 - 0.0037)
    assert server.stop() == 0


def test_our_own_client(server: Server) -> None:
    seen = []
    with Client(server.address, key=str(server.settings["bootstrap_key"])) as client:
        result = client.run(
            "stable-diffusion-3.5-turbo-txt2img", prompt="x", width=64, height=64, seed=3, progress=seen.append
        )
        assert client.download(result.output).startswith(b"\xff\xd8")
        assert result.seed == 3
        assert seen[-1]["status"] == "COMPLETED"
        assert client.credits() > 0
        assert len(client.models()) == len(MODELS)
        with pytest.raises(ServerRefused, match="steps"):
            client.submit("stable-diffusion-3.5-turbo-txt2img", prompt="x", steps=0)
        with pytest.raises(RequestFailed, match="not a public address"):
            client.run("sd1.5-img2img", prompt="x", image="http://127.0.0.1/x.png")


def test_the_demo_asks_for_what_the_built_in_weights_know() -> None:
    names = [thing["name"] for thing in vocabulary()]
    for requests in WORLD.values():
        for request in requests:
            assert any(f" {name} " in f" {request['prompt']} " for name in names), request["prompt"]


def test_demo(tmp_path: Path) -> None:
    """Behind a proxy that is not there, with settings for another server."""
    elsewhere = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "no_proxy": "example.com"}
    unfit = {"TINTYPE_BOOTSTRAP_CREDITS": "0", "TINTYPE_PUBLIC_URL": "http://example.com"}
    done = tintype("demo", "--output", tmp_path / "demo", **elsewhere, **unfit)
    pictures = [tmp_path / "demo" / f"{slug}{kind}.jpeg" for slug in WORLD for kind in ("", "-1")]
    for path in [*pictures, tmp_path / "demo" / "contact-sheet.jpeg"]:
        with Image.open(path) as image:
            image.load()
        assert str(path) in done.stdout.replace("\n", "")


def test_a_demo_whose_server_dies(tmp_path: Path) -> None:
    failed = tintype("demo", "--output", tmp_path, check=False, TINTYPE_WEIGHTS="/models")
    assert failed.returncode == 1
    assert failed.stderr == f"Error: the server did not start; see {tmp_path}/server.log\n"
    assert 'TINTYPE_WEIGHTS: "/models" was set; allowed is JSON' in (tmp_path / "server.log").read_text()
