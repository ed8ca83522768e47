"""The attacks that were found to work, each bounded in count and ended by the clock."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from benchmarks.abuse import payloads
from benchmarks.abuse.actors import JSON, LARGE, SMALL, TXT2IMG, Attack, Attacker, Deed
from benchmarks.abuse.wire import head, listening

SAMPLES = ("/sd-img2img-input.jpeg", "/sd3-img2img-ip.jpg", "/sd3-turbo-i2i-input.jpg")


class Nothing(Attack):
    """Nothing: what the worst is without any attack."""

    name = "nothing"

    async def run(self, me: Attacker) -> None:
        await asyncio.sleep(me.seconds)


class ScanBomb(Attack):
    """A progressive JPEG of 200 kB that takes half a minute to decode, uploaded, asked for and cancelled."""

    name, finding = "scan-bomb", "S1"

    def prepare(self) -> None:
        self.picture = payloads.scan_bomb(1500)

    async def run(self, me: Attacker) -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head_of_answer(len(self.picture)) + self.picture)
            await writer.drain()

        async with listening(serve) as address:
            # As an upload, and from elsewhere, where the server sees it only once a worker has it.
            images = [await me.upload(self.picture), f"{address}/bomb.jpg"]
            named = [image for image in images if image]
            await me.always(4, lambda number: me.submit_and_cancel(image=named[number % len(named)]), most=32)


class SlowAddress(Attack):
    """Pictures at an address that sends a byte now and then; the requests are cancelled at once."""

    name, finding = "slow-address", "S2"

    async def run(self, me: Attacker) -> None:
        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head_of_answer(100_000))
            while True:
                writer.write(b"\xff")
                await writer.drain()
                await asyncio.sleep(0.5)

        async with listening(drip) as address:
            await me.always(8, lambda number: me.submit_and_cancel(image=f"{address}/{number}.jpg"), most=200)


class DiskCopies(Attack):
    """One upload of 12 MB, named in request after request, each cancelled."""

    name, finding = "disk-copies", "S3"

    def prepare(self) -> None:
        self.picture = payloads.bitmap(12_000_000)

    async def run(self, me: Attacker) -> None:
        if image := await me.upload(self.picture):
            await me.always(1, lambda _: me.submit_and_cancel(0, image=image), most=25)


class Samples(Attack):
    """80 clients without a key ask for the sample pictures."""

    name, finding = "samples", "S4"

    async def run(self, me: Attacker) -> None:
        await me.always(
            80, lambda number: me.call("HEAD" if number % 4 == 3 else "GET", SAMPLES[number % len(SAMPLES)], key="")
        )


class Slowloris(Attack):
    """1,500 connections that say nothing, half a header, or half a body with a key; files as the machine allows."""

    name, finding, sockets = "slowloris", "S5", 1500

    async def run(self, me: Attacker) -> None:
        async with asyncio.TaskGroup() as group:
            for beginning in self.beginnings(me):
                group.create_task(me.hold(self.sockets // len(self.beginnings(me)), beginning))

    def beginnings(self, me: Attacker) -> list[bytes]:
        return [b"", half_header(), half_body(me)]


class IdleSockets(Slowloris):
    """400 connections that never say a word, to a server that may have 256 files open."""

    name, sockets, files = "idle-sockets", 400, 256

    def beginnings(self, _: Attacker) -> list[bytes]:
        return [b""]


class HalfHeaders(IdleSockets):
    """400 connections that stop in their headers, to a server that may have 256 files open."""

    name = "half-headers"

    def beginnings(self, _: Attacker) -> list[bytes]:
        return [half_header()]


class HalfBodies(IdleSockets):
    """400 connections that stop in their bodies, with a key, to a server that may have 256 files open."""

    name = "half-bodies"

    def beginnings(self, me: Attacker) -> list[bytes]:
        return [half_body(me)]


class JsonBombs(Attack):
    """Bodies of 32 MB of JSON that no model takes: lists, objects, numbers, names, nesting; two at once."""

    name, finding = "json-bombs", "S6"

    def prepare(self) -> None:
        self.bodies = [body for _, body in payloads.json_bombs(LARGE)]

    async def run(self, me: Attacker) -> None:
        await me.always(2, lambda number: me.call("POST", f"/v2/{TXT2IMG}", self.bodies[number % len(self.bodies)]))


class HeaderBombs(Attack):
    """Pictures that are all header, uploaded once: then 70 bytes name one, and the request is cancelled."""

    name, finding = "header-bombs", "S7"

    def prepare(self) -> None:
        self.pictures = payloads.header_bombs(4_000_000)

    async def run(self, me: Attacker) -> None:
        async def upload(number: int) -> None:
            if image := await me.upload(self.pictures[number]):
                await me.always(4, lambda _: me.submit_and_cancel(0, image=image))

        await me.always(len(self.pictures), upload, most=len(self.pictures))


class DecodingMemory(Attack):
    """Pictures of 49 megapixels in some kB, many at once: transparent, turned, of a palette, of 16 bits."""

    name, finding = "decoding-memory", "S8"

    def prepare(self) -> None:
        self.images = [
            payloads.data_uri(make()) for make in (payloads.turned_png, payloads.palette_png, payloads.deep_png)
        ]

    async def run(self, me: Attacker) -> None:
        await me.always(12, lambda number: me.submit(image=self.images[number % len(self.images)]), most=12)
        await asyncio.sleep(me.seconds)


class Waits(Attack):
    """300 blocking calls of one free test key, each waiting 40 seconds for its picture."""

    name, finding = "waits", "S9"

    async def run(self, me: Attacker) -> None:
        key = await me.new_key(test=True)
        body = {**SMALL, "prompt": "test:processing:40"}
        await me.flood(300, "POST", f"/v1/{TXT2IMG}", body, key=key)


class EventStreams(Attack):
    """192 event streams of six keys of one account, on requests that wait in the queue."""

    name, finding = "streams", "S9"

    async def run(self, me: Attacker) -> None:
        first = await me.new_key(test=True)
        keys = [first, *[await me.new_key(first, test=True) for _ in range(5)]]
        ids = [await me.submit(TXT2IMG, key=key, prompt="test:queued:60") for key in keys]

        async def follow(number: int) -> None:
            which = number % len(keys)
            await me.follow(f"/v2/requests/{ids[which]}/events", keys[which])
            await asyncio.sleep(0.2)

        await me.always(192, follow)


class QueueFiller(Attack):
    """One key asks for ten pictures at a time, until the queue of 20 pictures is full, and again."""

    name, finding = "queue-filler", "S10"
    settings: ClassVar = {"queue": 20}

    async def run(self, me: Attacker) -> None:
        async def ask(_: int) -> None:
            if await me.submit(TXT2IMG, batch_size=10, steps=70) is None:
                await asyncio.sleep(0.1)

        await me.always(2, ask)


class RetryAfter(Attack):
    """A webhook's receiver that takes each message, and asks to be told again in a year that no clock has."""

    name, finding = "retry-after", "S11"
    settings: ClassVar = {"webhook_timeout": 0.5, "webhook_attempts": 3, "webhook_backoff": 0.2}

    async def run(self, me: Attacker) -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            when = b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
            writer.write(b"HTTP/1.1 200 OK\r\nretry-after: " + when + b"\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            me.counted["posts"] += 1

        async with listening(take) as address:
            body = dict(SMALL)
            answer = await me.call("POST", f"/v2/{TXT2IMG}", body, x_webhook_url=f"{address}/hook")
            me.counted["messages"] += answer.status == 200
            await asyncio.sleep(me.seconds)

    def judge(self, deed: Deed) -> str:
        posts, messages = deed.counted.get("posts", 0), deed.counted.get("messages", 0)
        return f"{posts} posts of {messages} message that was taken at once" * (posts > messages)


class KeyChurn(Attack):
    """Makes a key, uses up its limit of two requests a minute, revokes it, and begins anew."""

    name, finding = "key-churn", "S12"
    settings: ClassVar = {"key_rpm": 2, "key_concurrency": 1, "account_keys": 3}

    async def run(self, me: Attacker) -> None:
        async def churn(_: int) -> None:
            made = (await me.call("POST", "/v2/keys", {"name": "one more"})).json()
            if "secret" not in made:
                await asyncio.sleep(0.1)
                return
            for _ in range(2):
                id = await me.submit(TXT2IMG, key=made["secret"])
                me.counted["accepted"] += id is not None
                await me.cancel(id, key=made["secret"])
            await me.call("DELETE", f"/v2/keys/{made['key']['id']}")

        await me.always(1, churn, most=100)

    def judge(self, deed: Deed) -> str:
        # What three keys that are kept may have in the first minute: their bursts, and one more as they fill again.
        fair, accepted = 3 * 2 + 1, deed.counted.get("accepted", 0)
        return f"{accepted} requests accepted, where three keys of 2 a minute may have {fair}" * (accepted > fair)


class RleBitmap(Attack):
    """A run-length encoded bitmap of 1 kB that leaves 49 million pixels to be filled in, asked for and cancelled."""

    name, finding = "rle-bitmap", "S16"

    def prepare(self) -> None:
        self.image = payloads.data_uri(payloads.rle_bitmap())

    async def run(self, me: Attacker) -> None:
        await me.always(4, lambda _: me.submit_and_cancel(image=self.image), most=32)


class Ampersands(Attack):
    """Forms of 32 MB that have no fields at all, two at once."""

    name, finding = "ampersands", "S20"

    def prepare(self) -> None:
        self.body = b"&" * LARGE

    async def run(self, me: Attacker) -> None:
        form = "application/x-www-form-urlencoded"
        await me.flood(2, "POST", f"/v2/{TXT2IMG}", self.body, content_type=form)


def head_of_answer(length: int) -> bytes:
    """What precedes a picture that the attacker's own server gives out."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: %d\r\n\r\n" % length


def half_header() -> bytes:
    """A call whose headers don't end."""
    return head("GET", "/health", {"x-padding": "x" * 64})[:-6]


def half_body(me: Attacker) -> bytes:
    """A call with a key whose body doesn't end."""
    own = JSON | {"x-api-key": me.key}
    return head("POST", f"/v2/{TXT2IMG}", own, 1000) + b'{"prompt":'


#: In the order in which they are made: those that share a server's settings follow one another.
FOUND: tuple[type[Attack], ...] = (
    Nothing,
    ScanBomb,
    SlowAddress,
    DiskCopies,
    Samples,
    Slowloris,
    JsonBombs,
    HeaderBombs,
    DecodingMemory,
    Waits,
    EventStreams,
    RleBitmap,
    Ampersands,
    IdleSockets,
    HalfHeaders,
    HalfBodies,
    QueueFiller,
    RetryAfter,
    KeyChurn,
)
