"""`tintype webhooks`: subscriptions and their deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_store
from tintype.cli.options import data_option, json_option, load_settings, wide_option
from tintype.cli.output import print_rows, shown_time
from tintype.errors import BadRequest, NotFound
from tintype.store.db.records import Delivery, Event, Subscription
from tintype.store.webhooks.subscriptions import Webhooks


@click.group()
def webhooks() -> None:
    """Webhooks: subscriptions to events, and their deliveries.

    \b
    Examples:
      tintype webhooks list
      tintype webhooks logs 5d0c…
      tintype webhooks replay msg_9f0c…
    """


@webhooks.command("list")
@data_option
@json_option
@wide_option
def list_webhooks(data: Path | None, as_json: bool, wide: bool) -> None:
    """List the webhooks of all accounts, and why one is disabled.

    \b
    Example:
      tintype webhooks list --json
    """
    with _stored(data) as stored:
        print_rows([_webhook_row(one) for one in stored.list()], as_json, wide=wide, keep=3)


@webhooks.command()
@click.argument("webhook")
@data_option
@json_option
@wide_option
def logs(webhook: str, data: Path | None, as_json: bool, wide: bool) -> None:
    """List the last hundred deliveries of a webhook.

    \b
    Example:
      tintype webhooks logs 5d0c3c0e-…
    """
    with _stored(data) as stored:
        _known(stored, webhook)
        print_rows([_delivery_row(one) for one in stored.outbox.logs(webhook)], as_json, wide=wide, keep=3)


@webhooks.command()
@click.argument("which", metavar="DELIVERY|WEBHOOK")
@data_option
def replay(which: str, data: Path | None) -> None:
    """Send a delivery again, or all that failed of a webhook.

    \b
    Examples:
      tintype webhooks replay msg_9f0c…
      tintype webhooks replay 5d0c3c0e-…
    """
    with _stored(data) as stored:
        count = len(stored.outbox.replay(which))
    click.echo(
        f"{count} {'delivery' if count == 1 else 'deliveries'} will be sent by the server that runs on this data"
    )


@webhooks.command()
@click.argument("webhook")
@data_option
@json_option
def rotate(webhook: str, data: Path | None, as_json: bool) -> None:
    """Generate a new secret and print it.

    For a day, deliveries are signed with the old one too.

    \b
    Example:
      tintype webhooks rotate 5d0c3c0e-…
    """
    with _stored(data) as stored:
        found = stored.rotate(webhook, _known(stored, webhook).account_id)
    until = shown_time(found.old_until)
    about = {"secret": found.secret, **_webhook_row(found), "old_secret_signs_until": until}
    click.echo(json.dumps(about, indent=2) if as_json else found.secret)
    click.echo(f"The old secret signs too until {until}.", err=True)


@webhooks.command()
@click.argument("webhook")
@data_option
def enable(webhook: str, data: Path | None) -> None:
    """Enable a disabled webhook again.

    The deliveries that it missed can then be replayed.

    \b
    Example:
      tintype webhooks enable 5d0c3c0e-…
    """
    with _stored(data) as stored:
        found = _known(stored, webhook)
        if found.url is None:
            raise BadRequest("this webhook is always active")
        stored.update(found.id, found.account_id, found.url, map(Event, found.events))
    click.echo(f"active again; `tintype webhooks replay {webhook}` sends what it missed")


@contextmanager
def _stored(data: Path | None) -> Iterator[Webhooks]:
    with open_store(load_settings(data=data)) as store:
        yield store.webhooks


def _known(stored: Webhooks, id: str) -> Subscription:
    found = next((one for one in stored.list() if one.id == id), None)
    if found is None:
        raise NotFound(f"There is no webhook {id[:80]}: `tintype webhooks list` shows them")
    return found


def _webhook_row(webhook: Subscription) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url or "X-Webhook-URL of each request",
        "state": "active" if webhook.disabled_at is None else f"disabled: {webhook.disabled_reason}",
        "last success": shown_time(webhook.succeeded_at),
        "events": ", ".join(webhook.events),
        "account": webhook.account_id,
    }


def _delivery_row(one: Delivery) -> dict[str, Any]:
    return {
        "id": one.id,
        "event": one.event,
        "state": one.status.value,
        "attempts": one.attempt,
        "answer": one.response_status or "",
        "error": one.error or "",
        "next": "" if one.ended_at else shown_time(one.due_at),
        "made": shown_time(one.created_at),
        "request": one.request_id,
        "url": one.url,
    }
