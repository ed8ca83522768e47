"""The API tab's code, run as a reader would run it: pasted into a file, with the key in the environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tests import node
from tests.acceptance.browser import Visitor
from tests.acceptance.harness import KEY, Server
from tests.acceptance.test_http_helpers import opened
from tests.toy_weights import BUILTIN
from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.spec import ModelSpec

#: What shells, heredocs and strings of twelve languages trip over.
NASTY = "a fox's \"den\" \\n `cost` $HOME ${x} #{y} %s <?php 東京 🦊\n'''\"\" JSON\u2028end"
#: Meaning → a value that keeps a picture cheap.
CHEAP = {"prompt": NASTY, "steps": 1, "strength": 0.1, "width": 64, "height": 64, "seed": 9007199254740993}
#: How a file is run; what is not here is only checked.
COMMANDS = {"sh": ["sh"], "py": [sys.executable], "mjs": ["node"], "java": ["java"]}
#: What is written for the libraries of other APIs.
OF_OTHER_APIS = ("openai_images.py", "a1111.py", "replicate_run.py")
#: How a language's own tool checks a file without running it: what it prints on stdout is a complaint of gofmt's.
CHECKS = {
    "Go": ["gofmt", "-l", "-e"],
    "C#": ["mcs", "--parse"],
    "PHP": ["php", "-l"],
    "Ruby": ["ruby", "-wc"],
    "TypeScript, queued": ["tsc", "--noEmit", "--noCheck", "--target", "es2022", "--module", "nodenext"],
}
#: Those whose tool looks at one file, whatever it is given.
ONE_BY_ONE = ("PHP", "Ruby")
#: Languages that are only read here: between their marks stands the request's JSON as it is sent.
BETWEEN = {
    "Go": r"const body = `(.*)`\n\nfunc",
    "C#": r'Body = @"(.*)";\n\n    static void Main',
    "PHP": r"<<<'JSON'\n(.*)\nJSON;",
    "Ruby": r"<<~'JSON'\n(.*)\nJSON\n",
}
#: By slug and language: the file's name and the code.
Written = dict[str, dict[str, tuple[str, str]]]
#: What undoes a language's own way of writing JSON in a string.
UNQUOTED: Mapping[str, Callable[[str], str]] = {
    "Go": lambda text: text.replace('` + "`" + `', "`"),
    "C#": lambda text: text.replace('""', '"'),
}


def cheap(spec: ModelSpec) -> dict[str, Any]:
    """The form's values, as its address names them."""
    values = {
        param.name: CHEAP[param.means or param.name]
        for param in spec.parameters
        if (param.means or param.name) in CHEAP
    }
    for param in spec.parameters:
        if param.choices and param.name in values:
            values[param.name] = param.choices[0]
        if param.minimum is not None and param.name in values and param.name != "seed":
            values[param.name] = max(values[param.name], param.minimum)
    return values


def snippets(visitor: Visitor, spec: ModelSpec) -> dict[str, tuple[str, str]]:
    """Every language's file name and code, read off the page."""
    page = visitor.go(f"/models/{spec.slug}?tab=api#{urlencode(cheap(spec))}")
    code = page.locator(".code code")
    expect(code).to_contain_text("curl")
    found = {}
    for choice in page.get_by_role("radiogroup", name="Language").get_by_role("radio").all():
        choice.check()
        found[str(choice.get_attribute("value"))] = (
            page.locator(".code-head .hint").first.inner_text(),
            code.inner_text(),
        )
    return found


def started(folder: Path, name: str, file: str, code: str) -> subprocess.Popen[str]:
    """Paste and run."""
    place = folder / re.sub(r"\W+", "-", name)
    place.mkdir()
    (place / file).write_text(code, "utf-8")
    environment = {**os.environ, "SEGMIND_API_KEY": KEY, "NO_PROXY": "*", "PYTHONUTF8": "1"}
    command = [*COMMANDS[file.rpartition(".")[2]], file]
    pipes: Mapping[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=place, env=environment, **pipes)


@pytest.fixture(scope="module")
def written(chromium: Browser, builtin: Server, photos: Path | None) -> Written:
    """The code of every model in every language, read once."""
    visitor = Visitor(chromium, builtin.address, photos)
    found = {slug: snippets(visitor, spec) for slug, spec in BUILTIN.items()}
    visitor.leave()
    return found


@pytest.mark.parametrize("language", CHECKS)
def test_the_code_of_every_model_is_right_for_its_own_tool(written: Written, tmp_path: Path, language: str) -> None:
    name, *arguments = CHECKS[language]
    program = node.tool(name) if name == "tsc" else shutil.which(name)
    if program is None:
        pytest.skip(f"{language}: {name} is not on this machine")
    files = []
    for slug, codes in written.items():
        file, code = codes[language]
        (tmp_path / slug).mkdir()
        (tmp_path / slug / file).write_text(code, "utf-8")
        files.append(f"{slug}/{file}")
    for together in [[file] for file in files] if language in ONE_BY_ONE else [files]:
        command = [program, *arguments, *together]
        checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{together}: {checked.stdout} {checked.stderr}"
        assert name != "gofmt" or not checked.stdout, f"{checked.stdout} is not formatted as Go is"


@pytest.mark.parametrize("spec", BUILTIN.values(), ids=BUILTIN)
def test_the_code_of_every_model_runs(written: Written, builtin: Server, tmp_path: Path, spec: ModelSpec) -> None:
    codes = written[spec.slug]
    wanted = {name: file for name, (file, _) in codes.items() if runs(file, spec)}
    # All at once: the server draws them together.
    running = {name: started(tmp_path, name, *codes[name]) for name in wanted}
    for file, code in codes.values():
        if file.endswith(".py"):
            compile(code, file, "exec")
    for name, pattern in BETWEEN.items():
        body = re.search(pattern, codes[name][1], re.DOTALL)
        assert body, name
        assert json.loads(UNQUOTED.get(name, str)(body[1]))["prompt"] == NASTY, name
    for name, process in running.items():
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{name}: {out} {err}"
        made = [*(tmp_path / re.sub(r"\W+", "-", name)).glob("picture.*")]
        assert made or "/files/" in out, f"{name}: {out}"
        for picture in made:
            opened(picture.read_bytes())
    assert len(running) >= 5
    history = builtin.http().get("/inference-request/request-history?per_page=20")
    asked = [row["request_body"] for row in history.json()["data"][: len(running)]]
    assert {body["prompt"] for body in asked} == {NASTY}
    assert {str(body["seed"]) for body in asked} == {str(CHEAP["seed"])}


def runs(file: str, spec: ModelSpec) -> bool:
    """Whether this machine can run it; what takes seconds to start, for one or two models."""
    ending = file.rpartition(".")[2]
    if ending == "java" and spec is not SD35_TURBO_TXT2IMG:
        return False
    if file in OF_OTHER_APIS and spec not in (SD35_TURBO_TXT2IMG, SD15_IMG2IMG):
        return False
    return ending in COMMANDS and shutil.which(COMMANDS[ending][0]) is not None
