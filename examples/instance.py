"""An application that is an object: what it needs is set up once, in ``__init__``.

$ esg examples.instance:app
"""


class Greeter:
    """Answers every request with one greeting."""

    def __init__(self, greeting):
        self.body = greeting.encode()

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


app = Greeter("Hello from an instance!")
