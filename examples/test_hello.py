"""A test of hello.py, by a real server and a real client.

$ pip install pytest httpx
$ pytest examples/test_hello.py
"""

import esg.testing
import httpx
import pytest

from examples.hello import app


@pytest.fixture(scope="module")
def url():
    with esg.testing.serve(app) as url:
        yield url


def test_hello(url):
    assert httpx.get(url).text == "Hello, world!"
