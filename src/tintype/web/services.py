"""What the routes work with: the store, the files and the settings, put together once per server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request as HttpRequest

from tintype.catalog.order import STORED
from tintype.media.outputs import Files
from tintype.settings import Settings
from tintype.store.accounts import Accounts
from tintype.store.database import Database
from tintype.store.requests import Requests
from tintype.store.workers import Workers


@dataclass(frozen=True)
class Services:
    """One of each, for the life of a server."""

    settings: Settings
    db: Database
    requests: Requests
    accounts: Accounts
    workers: Workers
    inputs: Files
    outputs: Files
    #: Whether the server has been told to stop, so that calls that wait should end.
    stopping: Callable[[], bool]

    @classmethod
    def open(cls, settings: Settings, stopping: Callable[[], bool]) -> Services:
        """Connect to what the settings name; the database must have been migrated."""
        db = Database(settings.database)
        return cls(
            settings=settings,
            db=db,
            requests=Requests(db, lease=settings.lease, retention=settings.retention),
            accounts=Accounts(db),
            workers=Workers(db),
            inputs=Files(settings.inputs_folder, settings.input_life),
            outputs=Files(settings.outputs_folder, settings.picture_life),
            stopping=stopping,
        )

    def has_worker(self) -> bool:
        """Whether a worker has given a sign of life lately."""
        return bool(self.workers.alive(max(5.0, 10 * self.settings.heartbeat)))

    def sweep(self) -> None:
        """Forget what has outlived its time: the pictures that callers sent, their requests' records, other files."""
        for params in self.requests.expired():
            image = params.get("image", "")
            if image.startswith(STORED):
                self.inputs.remove(image.removeprefix(STORED))
        self.requests.expire()
        self.outputs.expire()
        self.inputs.expire()


def services(http: HttpRequest) -> Services:
    """The server's services, as a FastAPI dependency."""
    found: Services = http.app.state.services
    return found
