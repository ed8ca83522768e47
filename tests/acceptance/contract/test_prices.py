"""Contract, section 2, where the operator bills otherwise: not at all, or at prices of its own."""

from __future__ import annotations

import pytest

from tests.acceptance.contract.conftest import WAYS_WITH_SETTINGS, NewApi
from tests.acceptance.test_http_helpers import OLD, TEXT, credits, quick, refused, slow


@pytest.mark.parametrize("way", WAYS_WITH_SETTINGS)
@pytest.mark.parametrize("settings", [{"billing": "false"}, {"prices": f'{{"{TEXT}": 0, "{OLD}": 0.5}}'}])
def test_nothing_is_held_where_nothing_costs_anything(new_api: NewApi, settings: dict[str, str], way: str) -> None:
    with new_api(way, devices="", **settings) as api:
        http = api.caller(0)
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
        assert list(api.store.accounts.imbalances()) == []
