"""Applications of every kind: ASGI 3, ASGI 2 and WSGI, as functions, classes and objects."""

import contextvars
import json

variable = contextvars.ContextVar("variable", default="unset")
started = []


async def answer(scope, receive, send, **more):
    told = {"asgi": scope["asgi"], "variable": variable.get(), "started": started, **more}
    headers = [(b"content-type", b"application/json"), (b"x-app", b"its own")]
    if scope["query_string"]:
        name, _, value = scope["query_string"].partition(b"=")
        headers.append((name, value))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


async def live(receive, send):
    await receive()
    started.append("started")
    variable.set("set in lifespan")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def asgi3(scope, receive, send):
    if scope["type"] == "lifespan":
        await live(receive, send)
    else:
        await answer(scope, receive, send)


class ASGI2:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        if self.scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await answer(self.scope, receive, send)


def asgi2(scope):
    return ASGI2(scope)


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    names = [
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR",
        "HTTP_HOST", "wsgi.url_scheme",
    ]  # fmt: skip
    told = {**{name: environ.get(name) for name in names}, "body": body.decode(), "variable": variable.get()}
    start_response("201 Created", [("Content-Type", "application/json"), ("X-Twice", "a"), ("X-Twice", "b")])
    text = json.dumps(told).encode()
    return [text[:10], text[10:]]


class WSGI:
    def __init__(self, environ, start_response):
        self.answer = wsgi(environ, start_response)

    def __iter__(self):
        yield from self.answer


def make_wsgi():
    return wsgi


def make_asgi2():
    return ASGI2


def make_flask():
    from flask import Flask

    flask = Flask(__name__)
    flask.add_url_rule("/hello/<name>", view_func=lambda name: f"hello {name}", endpoint="hello")
    return flask


def make_django():
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path

    def hello(request, name):
        return HttpResponse(f"hello {name} {request.get_host()} {request.is_secure()}")

    settings.configure(ROOT_URLCONF=(path("hello/<name>", hello),), ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    django.setup()
    return WSGIHandler()


def streaming(environ, start_response):
    """Parts without end; its end is told, and so is a body that breaks off."""
    if environ["PATH_INFO"] == "/hello":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]
    if environ["PATH_INFO"] == "/upload":
        try:
            size = len(environ["wsgi.input"].read())
        except OSError as error:
            print(f"app: {type(error).__name__}", flush=True)
            raise
        start_response("200 OK", [])
        return [str(size).encode()]
    headers = [("Content-Length", "5")] if environ["PATH_INFO"] == "/too-much" else []
    start_response("200 OK", headers)
    return stream()


def stream():
    try:
        while True:
            yield b"x" * 65536
    finally:
        print("app: closed", flush=True)
