"""Further attacks of the same kinds, which were thought of when those that were found had been mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

from benchmarks.abuse import payloads
from benchmarks.abuse.actors import IMG2IMG, JSON, LARGE, SMALL, TXT2IMG, Attack, Attacker
from benchmarks.abuse.stage import DRAWN
from benchmarks.abuse.wire import head, listening

SUBMIT = f"/v2/{TXT2IMG}"
EVENTS = ["REQUEST_COMPLETED", "REQUEST_FAILED"]


class Unauthorized(Attack):
    """80 clients guess keys."""

    name = "unauthorized"

    async def run(self, me: Attacker) -> None:
        await me.always(
            80, lambda number: me.call("GET", "/v1/get-user-credits", key=f"SG_{number:032x}"), most=100_000
        )


class NotThere(Attack):
    """80 clients ask for what is not there, under paths and queries of 8 kB."""

    name = "not-there"

    async def run(self, me: Attacker) -> None:
        path = f"/v2/{'x' * 4000}?{'&'.join(['a=b'] * 1000)}"
        await me.flood(80, "GET", path, key="")


class PublicPages(Attack):
    """80 clients without a key ask for the list of models, the OpenAPI document, and the pages."""

    name = "public-pages"

    async def run(self, me: Attacker) -> None:
        paths = (
            "/v1/models",
            "/openapi.json",
            "/inference-model-information/list",
            "/",
            "/static/shell.html",
            "/about.json",
        )
        await me.always(80, lambda number: me.call("GET", paths[number % len(paths)], key=""))


class AccountPages(Attack):
    """40 clients ask for an account's history, ledger, usage and keys, over the widest windows, page by page."""

    name = "account-pages"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        # Some rows, so that there is something to look through.
        await me.always(8, lambda _: me.submit(TXT2IMG, key=key, prompt="test:ok"), most=40)
        paths = (
            "/inference-request/request-history?per_page=100&sort_by=credits_deduction",
            "/inference-request/generations?page=2",
            "/v2/usage?from_date=2026-01-01&to_date=2026-12-31",
            "/v2/ledger?per_page=100&entries=all",
            "/v2/ledger/days?from_date=2026-01-01&to_date=2026-12-31",
            "/v2/keys",
            "/webhook/get",
            "/metrics",
            "/v2/operator",
        )
        await me.always(40, lambda number: me.call("GET", paths[number % len(paths)], key=key))


class FreeRequests(Attack):
    """32 clients submit with a free test key as fast as they are answered."""

    name = "free-requests"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        await me.always(32, lambda _: me.submit(TXT2IMG, key=key, prompt="test:ok"))


class CancelStorm(Attack):
    """32 clients submit and cancel at once, which costs nothing."""

    name = "cancel-storm"

    async def run(self, me: Attacker) -> None:
        await me.always(32, lambda _: me.submit_and_cancel(0, slug=TXT2IMG))


class HangUps(Attack):
    """64 blocking calls at a time that hang up before they are answered."""

    name = "hang-ups"

    async def run(self, me: Attacker) -> None:
        sent = head("POST", f"/v1/{TXT2IMG}", JSON | {"x-api-key": me.key}, len(DRAWN)) + DRAWN

        async def hang_up(_: int) -> None:
            async with me.watched() as (_reader, writer):
                writer.write(sent)
                await writer.drain()
                await asyncio.sleep(0.1)
                me.told["hung up"] += 1

        await me.always(64, hang_up)


class Reconnects(Attack):
    """64 clients follow a request's events, hang up after the first one, and come again."""

    name = "reconnects"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        id = await me.submit(TXT2IMG, key=key, prompt="test:processing:60")
        sent = head("GET", f"/v2/requests/{id}/events", {"x-api-key": key})

        async def look(_: int) -> None:
            async with me.watched() as (reader, writer):
                writer.write(sent)
                first = await reader.readline()
                me.told[first[9:12].decode() or "closed"] += 1
                await reader.readline()

        await me.always(64, look)


class Replays(Attack):
    """32 clients repeat a call under one idempotency key, and 32 send ever new ones."""

    name = "replays"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        body = {**SMALL, "prompt": "test:ok"}

        async def send(number: int) -> None:
            once = "the-same" if number % 2 else f"{number}{'x' * 200}"
            await me.call("POST", SUBMIT, body, key=key, idempotency_key=once)

        await me.always(64, send)


@asynccontextmanager
async def silent(me: Attacker) -> AsyncIterator[str]:
    """A receiver that takes every post, which is counted, and never answers; its address."""

    async def take(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        me.counted["posts"] += 1
        await reader.read()

    async with listening(take) as address:
        yield address


class ManyWebhooks(Attack):
    """200 webhooks of one account, so that each free request is told to each of them."""

    name = "many-webhooks"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        async with silent(me) as address:

            async def add(number: int) -> None:
                wanted = {"webhook_url": f"{address}/{number}", "event": {"types": EVENTS}}
                await me.call("POST", "/webhook/add", wanted, key=key)

            await me.always(8, add, most=200)
            await me.always(4, lambda _: me.submit(TXT2IMG, key=key, prompt="test:ok"))


class SilentReceivers(Attack):
    """Requests whose webhooks are at ever new addresses that take a message and never answer."""

    name = "silent-receivers"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        async with silent(me) as address:

            async def ask(number: int) -> None:
                body = {**SMALL, "prompt": "test:ok"}
                await me.call("POST", SUBMIT, body, key=key, x_webhook_url=f"{address}/{number}")

            await me.always(8, ask)


class Warmths(Attack):
    """32 clients have every model loaded, again and again."""

    name = "warmths"

    async def run(self, me: Attacker) -> None:
        slugs = IMG2IMG, TXT2IMG, "sd1.5-img2img"
        await me.always(32, lambda number: me.call("POST", f"/v2/models/{slugs[number % len(slugs)]}/warm"))


class LargeUploads(Attack):
    """Bodies of 30 MB with sixteen pictures each, four at once."""

    name = "large-uploads"

    def prepare(self) -> None:
        self.body = {"data_urls": [payloads.data_uri(payloads.bitmap(1_400_000))] * 16}

    async def run(self, me: Attacker) -> None:
        await me.always(4, lambda _: me.call("POST", "/upload-asset", self.body), most=12)


class TinyUploads(Attack):
    """Sixteen pictures of a pixel in each call, so that the files are many while their bytes are few."""

    name = "tiny-uploads"

    async def run(self, me: Attacker) -> None:
        body = {"data_urls": [payloads.data_uri(payloads.bitmap(100))] * 16}
        await me.always(16, lambda _: me.call("POST", "/upload-asset", body))


class HeldBodies(Attack):
    """40 bodies of 32 MB that come but for their last byte, and stay."""

    name = "held-bodies"

    async def run(self, me: Attacker) -> None:
        await me.hold(40, head("POST", SUBMIT, JSON | {"x-api-key": me.key}, LARGE) + b" " * (LARGE - 1))


class StrangersBodies(Attack):
    """20 bodies of 32 MB without a key."""

    name = "strangers-bodies"

    async def run(self, me: Attacker) -> None:
        await me.flood(20, "POST", SUBMIT, b" " * LARGE, key="")


class TinyChunks(Attack):
    """Bodies in chunks of a byte each, four at once."""

    name = "tiny-chunks"

    async def run(self, me: Attacker) -> None:
        opening = head("POST", SUBMIT, JSON | {"x-api-key": me.key, "connection": "close"}, None)
        sent = opening + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"
        await me.always(4, lambda _: me.raw(sent))


class Pipelined(Attack):
    """Ten thousand calls written at once on each of eight connections."""

    name = "pipelined"

    async def run(self, me: Attacker) -> None:
        sent = head("GET", "/health", {}) * 10_000 + head("GET", "/health", {"connection": "close"})
        await me.always(8, lambda _: me.raw(sent))


class LongHeaders(Attack):
    """Headers of 60 kB, as one, and as thousands, from 40 clients without a key."""

    name = "long-headers"

    async def run(self, me: Attacker) -> None:
        closing = {"connection": "close"}
        long = head("GET", "/v1/models", {"x-padding": "x" * 60_000, **closing})
        many = head("GET", "/v1/models", {f"x-{number}": "x" for number in range(6000)} | closing)
        await me.always(40, lambda number: me.raw((long, many)[number % 2]))


class Connections(Attack):
    """200 clients connect and hang up, again and again."""

    name = "connections"

    async def run(self, me: Attacker) -> None:
        async def come_and_go(_: int) -> None:
            async with me.watched():
                me.told["connected"] += 1
            await asyncio.sleep(0.01)

        await me.always(200, come_and_go, most=200_000)


class UnreadAnswers(Attack):
    """400 clients ask for 20 MB and read nothing of it."""

    name = "unread-answers"

    def prepare(self) -> None:
        self.picture = payloads.bitmap(20_000_000)

    async def run(self, me: Attacker) -> None:
        path = await me.upload(self.picture)

        async def ask(_: int) -> None:
            async with me.watched() as (reader, writer):
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(head("GET", path or "/openapi.json", {}))
                await asyncio.sleep(me.seconds)

        await me.always(400, ask)


class FileFlood(Attack):
    """40 clients ask for an upload of 20 MB, its head, and a byte of its middle."""

    name = "file-flood"

    def prepare(self) -> None:
        self.picture = payloads.bitmap(20_000_000)

    async def run(self, me: Attacker) -> None:
        path = await me.upload(self.picture) or "/files/none.png"

        async def ask(number: int) -> None:
            part = {"range": f"bytes={number}-{number}"} if number % 2 else {}
            await me.call("GET" if number % 3 else "HEAD", path, key="", **part)

        await me.always(40, ask)


class EscapedPictures(Attack):
    """Pictures in 30 MB of text that is dear to undo: percent signs, blanks between the letters, runs of semicolons."""

    name = "escaped-pictures"

    def prepare(self) -> None:
        self.images = (
            "data:image/png," + "%41" * 10_000_000,
            "a " * 15_000_000,
            "data:" + "; " * 15_000_000 + ",",
            "data:image/png;base64," + "%2B" * 10_000_000,
            "\n" * 30_000_000,
            "/" + "a." * 15_000_000,
        )
        self.bodies = [b'{"prompt":"x","image":"%s"}' % image.replace("\n", "\\n").encode() for image in self.images]

    async def run(self, me: Attacker) -> None:
        await me.always(2, lambda number: me.call("POST", f"/v2/{IMG2IMG}", self.bodies[number % len(self.bodies)]))


class LongTexts(Attack):
    """30 MB of text where a word, a number or a list belongs."""

    name = "long-texts"

    def prepare(self) -> None:
        names = ("negative_prompt", "seed", "width", "guidance_scale", "sampler", "base64", "batch_size")
        self.bodies = [b'{"prompt":"x","%s":"%s"}' % (name.encode(), b"1" * 30_000_000) for name in names]

    async def run(self, me: Attacker) -> None:
        await me.always(4, lambda number: me.call("POST", SUBMIT, self.bodies[number % len(self.bodies)]))


class FormBombs(Attack):
    """Forms of 32 MB: of parts with nothing in them, of near boundaries, of one endless header, of fields."""

    name = "form-bombs"

    def prepare(self) -> None:
        part = b'--zzz\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n'
        opening = b'--zzz\r\ncontent-disposition: form-data; name="a"\r\n\r\n'
        multipart = "multipart/form-data; boundary=zzz"
        self.forms = (
            (multipart, part * (LARGE // len(part)) + b"--zzz--\r\n"),
            (multipart, opening + b"\r\n--zz" * (LARGE // 6) + b"\r\n--zzz--\r\n"),
            (multipart, b"--zzz\r\nx: " + b"x" * LARGE),
            (multipart, opening + b"\r" * LARGE),
            ("application/x-www-form-urlencoded", b"a=b&" * (LARGE // 4)),
            ("application/x-www-form-urlencoded", b"%41" * (LARGE // 3)),
            ("application/x-www-form-urlencoded", b"a=" + b"+" * LARGE),
        )

    async def run(self, me: Attacker) -> None:
        async def send(number: int) -> None:
            kind, body = self.forms[number % len(self.forms)]
            await me.call("POST", SUBMIT, body, content_type=kind)

        await me.always(2, send)


class DearPictures(Attack):
    """Pictures of other kinds that are dear to open: compressed notes, many tags, many frames, thin strips."""

    name = "dear-pictures"

    def prepare(self) -> None:
        self.images = [payloads.data_uri(data) for data in payloads.dear_pictures()]

    async def run(self, me: Attacker) -> None:
        await me.always(8, lambda number: me.submit_and_cancel(0.2, image=self.images[number % len(self.images)]))


class LongPrompts(Attack):
    """Prompts of 20,000 characters without a blank, each another one, cancelled when they are being read."""

    name = "long-prompts"

    async def run(self, me: Attacker) -> None:
        def prompt(number: int) -> str:
            return "".join(chr(0x4E00 + (number * 977 + index * 31) % 20_000) for index in range(19_000)) + str(number)

        async def ask(number: int) -> None:
            text = prompt(number) if number % 2 else f"{number}" + "ab" * 9_000
            await me.submit_and_cancel(slug=TXT2IMG, prompt=text, negative_prompt=text[::-1], guidance_scale=7)

        await me.always(8, ask)


class LargeRequests(Attack):
    """Forty requests for the most that can be asked for at once: ten pictures of 70 steps."""

    name = "large-requests"

    async def run(self, me: Attacker) -> None:
        most: dict[str, Any] = {"batch_size": 10, "steps": 70, "width": 1024, "height": 1024, "guidance_scale": 7}
        ids = [await me.submit(TXT2IMG, **most) for _ in range(40)]
        await asyncio.sleep(me.seconds)
        await asyncio.gather(*map(me.cancel, ids))


class ManyKeys(Attack):
    """Twenty keys of one account, each with ten requests that wait: a turn for each key."""

    name = "many-keys"

    async def run(self, me: Attacker) -> None:
        keys = [me.key, *[await me.new_key() for _ in range(19)]]
        for key in chain(*[keys] * 10):
            await me.submit(TXT2IMG, key=key, steps=20)


class EndlessChunks(Attack):
    """200 bodies that come a byte every 0.2 s in chunks, with a key."""

    name = "endless-chunks"

    async def run(self, me: Attacker) -> None:
        opening = head("POST", SUBMIT, JSON | {"x-api-key": me.key}, None)

        async def drip(_: int) -> None:
            async with me.watched() as (_reader, writer):
                writer.write(opening)
                while True:
                    writer.write(b"1\r\n \r\n")
                    await writer.drain()
                    await asyncio.sleep(0.2)

        await me.always(200, drip)


FURTHER: tuple[type[Attack], ...] = (
    Unauthorized,
    NotThere,
    PublicPages,
    AccountPages,
    FreeRequests,
    CancelStorm,
    HangUps,
    Reconnects,
    Replays,
    ManyWebhooks,
    SilentReceivers,
    Warmths,
    LargeUploads,
    TinyUploads,
    HeldBodies,
    StrangersBodies,
    TinyChunks,
    Pipelined,
    LongHeaders,
    Connections,
    UnreadAnswers,
    FileFlood,
    EscapedPictures,
    LongTexts,
    FormBombs,
    DearPictures,
    LongPrompts,
    LargeRequests,
    ManyKeys,
    EndlessChunks,
)
