"""A factory: a function without arguments that makes the application when the server starts.

$ esg --factory examples.factory:create_app
"""

import os


def create_app():
    """An application whose greeting comes from a variable of the environment."""
    greeting = os.environ.get("GREETING", "Hello from a factory!").encode()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"text/plain"]]})
        await send({"type": "http.response.body", "body": greeting})

    return app
