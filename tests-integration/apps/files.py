"""The application of test_files: a file by Starlette, and one by the extension itself."""

import os

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

PATH = os.environ.get("FILE_TO_SEND", __file__)


def download(request):
    return FileResponse(PATH)


async def by_extension(scope, receive, send):
    headers = [(b"content-length", b"%d" % os.path.getsize(PATH))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.pathsend", "path": PATH})


starlette = Starlette(routes=[Route("/starlette", download)])


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/extension":
        await by_extension(scope, receive, send)
    else:
        await starlette(scope, receive, send)
