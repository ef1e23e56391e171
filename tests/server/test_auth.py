"""Who may call the routes: every route with every method, as the handlers themselves list them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from jupyter_konduktor.server.routes.handlers import NAMESPACE, ROUTES, Handler

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def paths(pattern: str, name: str) -> list[str]:
    """Give the paths that a route's pattern is meant for."""
    path = pattern.replace("([^/]+)", "local", 1).replace("([^/]+)", name, 1)
    verbs = re.search(r"\(([a-z|]+)\)", path)
    return [path[: verbs.start()] + verb for verb in verbs[1].split("|")] if verbs else [path]


def offered(handler: type[Handler]) -> set[str]:
    return {method for method in METHODS if method.lower() in vars(handler)}


def calls(name: str) -> list[tuple[str, str]]:
    return [
        (method, path) for pattern, handler in ROUTES for path in paths(pattern, name) for method in offered(handler)
    ]


class Client:
    """Calls with exactly the headers that it is given."""

    def __init__(self, server: Any, base: str) -> None:
        self._base = f"http://127.0.0.1:{next(iter(server._sockets.values())).getsockname()[1]}{base}"

    async def __call__(self, method: str, path: str, **headers: str) -> HTTPResponse:
        request = HTTPRequest(
            self._base + path.lstrip("/"),
            method=method,
            headers={key.replace("_", "-"): value for key, value in headers.items()},
            body="{}" if method in ("POST", "PUT", "PATCH") else None,
            follow_redirects=False,
        )
        return await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)

    async def log_in(self, token: str) -> str:
        """Log in as a browser does, and give its cookies."""
        response = await self("GET", f"api/me?token={token}")
        assert response.code == 200
        return "; ".join(cookie.partition(";")[0] for cookie in response.headers.get_list("Set-Cookie"))


@pytest.fixture
def client(http_server: Any, jp_base_url: str) -> Client:
    return Client(http_server, jp_base_url)


@pytest.fixture
def token(jp_serverapp: Any) -> str:
    return str(jp_serverapp.identity_provider.token)


def test_every_route_is_listed_and_offers_one_method() -> None:
    assert len(ROUTES) == 11
    assert all(len(offered(handler)) == 1 for _, handler in ROUTES)
    assert sum(method == "POST" for method, _ in calls("x")) == 3


async def nobody_gets_in(client: Client, jobs: Any) -> None:
    record = jobs.submit("sleep 60")
    for pattern, handler in ROUTES:
        for path in paths(pattern, record.name):
            for method in METHODS:
                for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username-localhost=forged"}):
                    response = await client(method, f"/{NAMESPACE}{path}", **headers)
                    allowed = (403,) if method in offered(handler) else (403, 405)
                    assert response.code in allowed, (method, path, headers, response.code)
                    assert record.name.encode() not in (response.body or b"")
    assert not jobs.backend.get(record.name).state.final


async def test_without_a_token_or_with_a_wrong_one_nobody_gets_in(client: Client, jobs: Any) -> None:
    await nobody_gets_in(client, jobs)


class TestServerThatLeavesItToTheRoutes:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["allow_unauthenticated_access"] = True
        return jp_server_config

    async def test_without_a_token_or_with_a_wrong_one_nobody_gets_in(self, client: Client, jobs: Any) -> None:
        await nobody_gets_in(client, jobs)


async def test_with_the_token_every_route_answers(client: Client, token: str, jobs: Any) -> None:
    record = jobs.run("echo hi")
    for method, path in calls(record.name):
        query = "?text=hi" if path.endswith("search") else ""
        response = await client(method, f"/{NAMESPACE}{path}{query}", Authorization=f"token {token}")
        assert response.code == (409 if method == "POST" else 200), (method, path, response.body)


async def test_a_cookie_alone_posts_nothing(client: Client, token: str, jobs: Any) -> None:
    record = jobs.submit("sleep 60")
    cookies = await client.log_in(token)
    for method, path in calls(record.name):
        if method != "GET":
            for headers in ({}, {"X_XSRFToken": "guessed"}):
                response = await client(method, f"/{NAMESPACE}{path}", Cookie=cookies, **headers)
                assert response.code == 403, (method, path)
    assert not jobs.backend.get(record.name).state.final
    mine = {"Cookie": f"{cookies}; _xsrf=mine", "X_XSRFToken": "mine"}
    cancelled = await client("POST", f"/{NAMESPACE}/jobs/local/{record.name}/cancel", **mine)
    assert cancelled.code == 204


async def test_a_page_of_another_origin_gets_nothing(client: Client, token: str, jobs: Any) -> None:
    record = jobs.submit("sleep 60")
    cookies = f"{await client.log_in(token)}; _xsrf=mine"
    for method, path in calls(record.name):
        response = await client(
            method, f"/{NAMESPACE}{path}", Cookie=cookies, X_XSRFToken="mine", Origin="https://evil.example"
        )
        assert response.code in (403, 404), (method, path)
        assert record.name.encode() not in response.body
        assert "Access-Control-Allow-Origin" not in response.headers
    assert not jobs.backend.get(record.name).state.final


class Refusing(Authorizer):
    """Lets nobody near jobs."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012

    async def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        self.asked.append((action, resource))
        return resource != "konduktor"


class TestAuthorizer:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["authorizer_class"] = Refusing
        return jp_server_config

    async def test_refuses_every_route(self, client: Client, token: str, jobs: Any) -> None:
        record = jobs.submit("sleep 60")
        for method, path in calls(record.name):
            Refusing.asked.clear()
            response = await client(method, f"/{NAMESPACE}{path}", Authorization=f"token {token}")
            assert response.code == 403, (method, path)
            assert "not authorized" in json.loads(response.body)["message"]
            assert Refusing.asked == [("write" if method == "POST" else "read", "konduktor")]
        assert not jobs.backend.get(record.name).state.final
