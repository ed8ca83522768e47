"""Servers whose operator bills otherwise: not at all, or at prices of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import OLD, TEXT, credits, new_key, quick, refused, slow
from tintype.store.accounts.accounts import Accounts


def imbalances(server: Server) -> list[object]:
    with server.store() as db:
        return [*Accounts(db).imbalances()]


@pytest.mark.parametrize("settings", [{"billing": "false"}, {"prices": f'{{"{TEXT}": 0, "{OLD}": 0.5}}'}])
def test_nothing_is_held_where_nothing_costs_anything(
    new_server: Callable[..., Server], settings: dict[str, str]
) -> None:
    server = new_server(devices="", **settings).start(wait_for_worker=False)
    http = server.http(new_key(server, 0))
    response = http.post(f"/v2/{TEXT}", json=quick(batch_size=10))
    assert response.status_code == 200
    prices = {model["slug"]: model["price"] for model in http.get("/v1/models").json()["models"]}
    if "billing" in settings:
        assert response.headers["x-remaining-credits"] == "unlimited"
        assert http.post(f"/v2/{OLD}", json=slow()).status_code == 200
        assert set(prices.values()) == {0}
    else:
        assert credits(response) == 0
        refused(http.post(f"/v2/{OLD}", json=slow()), 406, "$0,", "$2")
        assert (prices[TEXT], prices[OLD]) == (0, 0.5)
    assert http.get("/v1/get-user-credits").json() == {"credits": 0, "free-credits": 0}
    assert imbalances(server) == []
    assert server.stop() == 0
