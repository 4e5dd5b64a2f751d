"""A WSGI application: served in threads, by a2wsgi.

$ pip install a2wsgi
$ esg examples.wsgi:app
"""


def app(environ, start_response):
    body = f"Hello from {environ['PATH_INFO']}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
