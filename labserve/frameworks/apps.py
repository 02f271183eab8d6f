"""One small service in four frameworks, side by side: the same two endpoints, each written the shortest way.

`GET /predict?top_k=3` names the first classes of a list; `GET /features` waits, as for a database. Each
function builds its app and serves it on `listener`, in one process, with a server that is usual in
production. Flask and Django wait in `threads` worker threads, FastAPI and Tornado in their event loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from socket import create_server, socket
from typing import Any

CLASSES = ["tabby", "tiger cat", "Egyptian cat", "lynx", "Persian cat"]
WAIT = 0.1  # seconds


def fastapi(listener: socket, threads: int) -> None:
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/predict")
    async def predict(top_k: int = 5) -> dict[str, Any]:
        return {"top_k": top_k, "classes": CLASSES[:top_k]}

    @app.get("/features")
    async def features() -> dict[str, float]:
        await asyncio.sleep(WAIT)
        return {"waited": WAIT}

    uvicorn.Server(uvicorn.Config(app, access_log=False)).run(sockets=[listener])


def flask(listener: socket, threads: int) -> None:
    import waitress  # type: ignore[import-untyped]
    from flask import Flask, request

    app = Flask("service")

    @app.get("/predict")
    def predict() -> dict[str, Any]:
        top_k = request.args.get("top_k", 5, type=int)
        return {"top_k": top_k, "classes": CLASSES[:top_k]}

    @app.get("/features")
    def features() -> dict[str, float]:
        time.sleep(WAIT)
        return {"waited": WAIT}

    waitress.serve(app, sockets=[listener], threads=threads)


def django(listener: socket, threads: int) -> None:
    import waitress
    from django.conf import settings  # type: ignore[import-untyped]
    from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
    from django.http import HttpRequest, JsonResponse  # type: ignore[import-untyped]
    from django.urls import path  # type: ignore[import-untyped]

    def predict(request: HttpRequest) -> JsonResponse:
        top_k = int(request.GET.get("top_k", 5))
        return JsonResponse({"top_k": top_k, "classes": CLASSES[:top_k]})

    def features(request: HttpRequest) -> JsonResponse:
        time.sleep(WAIT)
        return JsonResponse({"waited": WAIT})

    routes = (path("predict", predict), path("features", features))
    middleware = ["django.middleware.common.CommonMiddleware"]
    settings.configure(ROOT_URLCONF=routes, ALLOWED_HOSTS=["127.0.0.1"], MIDDLEWARE=middleware)
    waitress.serve(get_wsgi_application(), sockets=[listener], threads=threads)


def tornado(listener: socket, threads: int) -> None:
    from tornado.httpserver import HTTPServer
    from tornado.web import Application, RequestHandler

    class Predict(RequestHandler):
        def get(self) -> None:
            top_k = int(self.get_argument("top_k", "5"))
            self.write({"top_k": top_k, "classes": CLASSES[:top_k]})

    class Features(RequestHandler):
        async def get(self) -> None:
            await asyncio.sleep(WAIT)
            self.write({"waited": WAIT})

    async def main() -> None:
        app = Application([("/predict", Predict), ("/features", Features)])
        HTTPServer(app).add_socket(listener)
        await asyncio.Event().wait()

    asyncio.run(main())


# The framework, its server (both names are their packages' names too), and the function that runs them.
FRAMEWORKS: dict[str, tuple[str, Callable[[socket, int], None]]] = {
    "FastAPI": ("uvicorn", fastapi),
    "Flask": ("waitress", flask),
    "Django": ("waitress", django),
    "Tornado": ("Tornado", tornado),
}


def serve(framework: str, threads: int, ready: Callable[[int], None]) -> None:
    """Serve one framework's app on a free port of 127.0.0.1, told to `ready`, until the process ends."""
    logging.disable(logging.WARNING)  # a line for every request that waits would be measured too
    listener = create_server(("127.0.0.1", 0), backlog=256)
    listener.setblocking(False)
    ready(listener.getsockname()[1])  # connections queue from now on
    FRAMEWORKS[framework][1](listener, threads)
