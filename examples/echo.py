"""What the scope tells: the answer names the method and the path of the request.

$ esg examples.echo:app
$ curl -X DELETE http://127.0.0.1:8000/any/path
"""


async def app(scope, receive, send):
    assert scope["type"] == "http"
    text = f"{scope['method']} {scope['path']}"
    await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
    await send({"type": "http.response.body", "body": text.encode()})
