"""What rooms that don't take dependencies yet read: the store, the files and the runtime under their old names."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request as HttpRequest
from starlette.datastructures import State

from tintype.hub.registry import Registry
from tintype.media.storage import Storage
from tintype.settings import Settings
from tintype.store.store import Store
from tintype.web.body import Bodies
from tintype.web.files import Files
from tintype.web.generate.watcher import ConcurrentWaits, Watcher
from tintype.web.readiness import Readiness
from tintype.web.runtime import Runtime
from tintype.web.shutdown import Shutdown
from tintype.web.threads import Threads


@dataclass(frozen=True)
class Services:
    state: State

    @property
    def store(self) -> Store:
        store: Store = self.state.store
        return store

    @property
    def files(self) -> Files:
        files: Files = self.state.files
        return files

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.state.runtime
        return runtime

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @property
    def registry(self) -> Registry:
        return self.runtime.registry

    @property
    def bodies(self) -> Bodies:
        return self.runtime.bodies

    @property
    def threads(self) -> Threads:
        return self.runtime.threads

    @property
    def readiness(self) -> Readiness:
        return self.runtime.readiness

    @property
    def shutdown(self) -> Shutdown:
        return self.runtime.shutdown

    @property
    def waits(self) -> ConcurrentWaits:
        return self.runtime.waits

    @property
    def watcher(self) -> Watcher:
        return self.runtime.watcher

    @property
    def inputs(self) -> Storage:
        return self.files.inputs

    @property
    def outputs(self) -> Storage:
        return self.files.outputs

    @property
    def uploads(self) -> Storage:
        return self.files.uploads

    def cleanup(self) -> None:
        self.files.cleanup(self.store)


def services(http: HttpRequest) -> Services:
    """The services of the server that a call came to."""
    return Services(http.app.state)
