"""Serve with uvicorn or Sanic, with esg_parser.httptools in the place of httptools: ``with_httptools.py uvicorn``.

Both answer alike: what was sent, the client's port, and which parser was at work.
"""

from __future__ import annotations

import gc
import socket
import sys

from esg_parser import httptools

sys.modules["httptools"] = httptools
for name in ("parser", "parser.errors", "parser.parser", "parser.protocol", "parser.url_parser"):
    sys.modules[f"httptools.{name}"] = httptools


def serve_uvicorn(listener):
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        if scope["path"] == "/parsers":
            protocols = [found for found in gc.get_objects() if isinstance(found, HttpToolsProtocol)]
            kinds = {type(protocol.parser) for protocol in protocols}
            body = ",".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds).encode()
        elif scope["path"] == "/peer":
            body = b"%d" % scope["client"][1]
        else:
            body, more = b"%b %b?%b " % (scope["method"].encode(), scope["raw_path"], scope["query_string"]), True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(app, http="httptools", loop="asyncio", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def serve_sanic(listener):
    from sanic import Sanic
    from sanic.response import raw

    app = Sanic("with_httptools")

    @app.get("/parsers")
    async def parsers(request):
        kind = type(request._parsed_url)
        return raw(f"{kind.__module__}.{kind.__qualname__}")

    @app.get("/peer")
    async def peer(request):
        return raw(str(request.port))

    @app.route("/echo", methods=["GET", "POST", "PUT"])
    async def echo(request):
        return raw(f"{request.method} {request.path}?{request.query_string} ".encode() + request.body)

    app.run(sock=listener, single_process=True, motd=False)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening on", listener.getsockname()[1], flush=True)
    {"uvicorn": serve_uvicorn, "sanic": serve_sanic}[sys.argv[1]](listener)
