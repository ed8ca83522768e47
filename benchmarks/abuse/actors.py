"""Who takes part, each in a process of its own: the attacker, and the probes that stand for everybody else."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, ClassVar, NamedTuple

from benchmarks.abuse.payloads import data_uri
from benchmarks.abuse.wire import Answer, Streams, call, connect, exchange, head

TXT2IMG, IMG2IMG = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img"
JSON = {"content-type": "application/json"}
#: Bytes of a body: nearly the most that the server takes.
LARGE = 32_000_000
#: The least work that a model can be asked for.
SMALL = {"width": 256, "height": 256, "steps": 1, "prompt": "a fox"}
#: The attacker gives way to the server and to the probes, as one on a machine of his own would.
NICE = 10
#: Where the attacker's connections come from: not from where the probes' do, so that bounds per address are seen.
SOURCE = "127.0.0.2"
#: Connections that an attacker opens at most.
MOST_SOCKETS = 4096
#: Seconds from one probe's answer to the next one's call.
PAUSES = {"health": 0.05, "keyed": 0.1, "drawing": 0.2}


class Target(NamedTuple):
    """What an attacker knows: the server, a key of his own, and for how long he is let."""

    address: str
    key: str
    seconds: float


class Attacker:
    """His calls, which are counted, and what he has sent in all."""

    def __init__(self, target: Target) -> None:
        self.address, self.key, self.seconds = target
        self.told: Counter[str] = Counter()
        #: The first words of each kind of refusal.
        self.words: dict[str, str] = {}
        self.sent = 0
        #: What else an attack has counted, by name.
        self.counted: Counter[str] = Counter()

    async def call(self, method: str, path: str, body: Any = b"", *, key: str | None = None, **headers: str) -> Answer:
        """One call with his key, or `key`, where "" is none; a body that isn't bytes is sent as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = JSON | {name.replace("_", "-"): text for name, text in headers.items()}
        if given := self.key if key is None else key:
            named["x-api-key"] = given
        self.sent += len(body)
        status = "gave up"
        try:
            answer = await call(self.address, method, path, named, body, source=SOURCE)
            status = str(answer.status or "no answer")
            if answer.status >= 400:
                self.words.setdefault(status, answer.body.decode(errors="replace")[:200])
            return answer
        finally:
            self.told[status] += 1

    async def raw(self, sent: bytes) -> None:
        """Bytes of his own making; of what is answered, every status counts."""
        self.sent += len(sent)
        statuses = ["gave up"]
        try:
            said = await exchange(self.address, sent, SOURCE)
            statuses = [part[:3].decode() for part in said.split(b"HTTP/1.1 ")[1:]]
        except OSError:
            statuses = []
        finally:
            self.told.update(statuses or ["no answer"])

    async def submit(self, slug: str = IMG2IMG, *, key: str | None = None, **params: Any) -> str | None:
        """Queue a request; its id, or None where it was refused."""
        least = SMALL if slug == TXT2IMG else {"prompt": "a fox", "num_inference_steps": 1}
        answer = await self.call("POST", f"/v2/{slug}", {**least, **params}, key=key)
        return answer.json().get("request_id")

    async def cancel(self, id: str | None, *, key: str | None = None) -> None:
        """Cancel a request, if it was taken."""
        if id is not None:
            await self.call("DELETE", f"/v2/requests/{id}", key=key)

    async def submit_and_cancel(self, pause: float = 0.4, **params: Any) -> None:
        """Have a worker begin with a request, and pay nothing for it."""
        id = await self.submit(**params)
        await asyncio.sleep(pause)
        await self.cancel(id)

    async def upload(self, data: bytes) -> str | None:
        """Upload a picture; its path on the server, or None where it was refused."""
        answer = await self.call("POST", "/upload-asset", {"data_urls": [data_uri(data)]})
        urls = answer.json().get("file_urls", [])
        return "/files/" + urls[0].rpartition("/")[2] if urls else None

    async def new_key(self, key: str | None = None, **wanted: Any) -> str:
        """A further key, made by `key` or his first one; that one where he gets none."""
        answer = await self.call("POST", "/v2/keys", {"name": "one more", **wanted}, key=key)
        return str(answer.json().get("secret") or key or self.key)

    async def always(self, at_once: int, work: Callable[[int], Awaitable[object]], most: int = 10_000) -> None:
        """Do something again and again, so many at once, until time is up or it was done `most` times."""
        numbers = iter(range(most))

        async def one_after_the_other() -> None:
            for number in numbers:
                await work(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(one_after_the_other())

    async def flood(self, at_once: int, method: str, path: str, body: Any = b"", **named: str) -> None:
        """The same call again and again, so many at once."""
        await self.always(at_once, lambda _: self.call(method, path, body, **named))

    async def hold(self, sockets: int, sent: bytes) -> None:
        """Open connections, and send the same beginning on each and never its end; closed ones are opened anew."""

        async def one(number: int) -> None:
            del number
            self.sent += len(sent)
            async with self.watched() as (reader, writer):
                writer.write(sent)
                said = await reader.read()
                words = said.split(b" ", 2)
                self.told[words[1].decode() if len(words) > 1 else "closed"] += 1
            await asyncio.sleep(1)  # to hold is the attack; to come as fast as one can is another

        await self.always(sockets, one)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Streams]:
        """A connection, which is counted as held if it is open until time is up."""
        try:
            async with connected(self.address) as streams:
                yield streams
        except asyncio.CancelledError:
            self.told["held"] += 1
            raise
        except OSError:
            self.told["no answer"] += 1

    async def follow(self, path: str, key: str | None = None) -> None:
        """Keep an event stream open for as long as the server lets it be."""
        async with self.watched() as (reader, writer):
            writer.write(head("GET", path, {"x-api-key": key or self.key}))
            first = await reader.readline()
            self.told[first.split(b" ")[1].decode() if b" " in first else "closed"] += 1
            while await reader.read(65536):
                pass

    async def credits(self) -> float | None:
        """Dollars that he has left."""
        answer = await call(self.address, "GET", "/v1/get-user-credits", {"x-api-key": self.key}, limit=10)
        return answer.json().get("credits")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Streams]:
    """A connection of the attacker's that is closed without a word."""
    reader, writer = await connect(address, SOURCE)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


class Attack:
    """One way of harming others; its docstring says which."""

    name = ""
    #: Its number in the list of findings, where it is known from there.
    finding = ""
    #: Settings of the server without which it can't be seen in seconds.
    settings: ClassVar[dict[str, object]] = {}
    #: Files that the server's processes may have open; None leaves the machine's own limit.
    files: int | None = None

    def prepare(self) -> None:
        """Make what will be sent, before any time is taken."""

    async def run(self, me: Attacker) -> None:
        """Attack until cancelled; what returns earlier has reached its own bound."""
        raise NotImplementedError

    def judge(self, deed: Deed) -> str:
        """What else it has reached that it should not; empty if nothing."""
        del deed
        return ""


@dataclass
class Deed:
    """What came of an attack, as the attacker saw it."""

    #: On the machine's monotonic clock.
    began: float
    ended: float
    told: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    #: Bytes of bodies.
    sent: int = 0
    #: Of one core, from 0 to 1.
    processor: float = 0.0


def attack(one: Attack, target: Target, told: Connection) -> None:
    """The attacker's process: prepares, waits for the word, attacks, and tells the Deed."""
    os.nice(NICE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_SOCKETS)), hard))
    one.prepare()
    told.send("ready")
    told.recv()
    told.send(asyncio.run(act(one, Attacker(target))))


async def act(one: Attack, me: Attacker) -> Deed:
    """Attack for as long as is let."""
    began, spent = time.monotonic(), time.process_time()
    with suppress(TimeoutError):
        async with asyncio.timeout(me.seconds):
            await one.run(me)
    ended = time.monotonic()
    used = (time.process_time() - spent) / max(ended - began, 0.01)
    return Deed(began, ended, dict(me.told), me.words, dict(me.counted), me.sent, used)


class Sample(NamedTuple):
    """One call of a probe."""

    probe: str
    #: On the machine's monotonic clock.
    began: float
    seconds: float
    status: int


def probe(address: str, key: str, patience: float, over: Event, told: Connection) -> None:
    """The probes' process: three callers, each waiting for its answers, until one call after `over` is answered."""
    told.send("ready")
    told.send(asyncio.run(_probes(address, key, patience, over)))


async def _probes(address: str, key: str, patience: float, over: Event) -> list[Sample]:
    own = JSON | {"x-api-key": key}
    picture = json.dumps({**SMALL, "steps": 4, "guidance_scale": 1}).encode()
    calls = {
        "health": partial(call, address, "GET", "/health"),
        "keyed": partial(call, address, "GET", "/v1/get-user-credits", own),
        "drawing": partial(call, address, "POST", f"/v1/{TXT2IMG}", own, picture),
    }

    async def watch(name: str) -> list[Sample]:
        samples = []
        for number in count():
            # A last call begins when all is over, which shows what the attack has left behind.
            last, began = number > 0 and over.is_set(), time.monotonic()
            answer = await calls[name](limit=patience)
            samples.append(Sample(name, began, answer.seconds, answer.status))
            if last:
                break
            await asyncio.sleep(PAUSES[name])
        return samples

    return [sample for samples in await asyncio.gather(*map(watch, calls)) for sample in samples]
