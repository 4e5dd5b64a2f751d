"""Reading what an app's message says: one walk over its items, against a look-up for every key there may be.

Run: python -m bench.micro.messages
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.micro.compare import compare

SOURCE = """
# cython: language_level=3, binding=False
from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject

cdef str TYPE = "type", BODY = "body", MORE = "more_body", STATUS = "status", HEADERS = "headers"

def walk(dict message, int times):
    cdef Py_ssize_t at
    cdef PyObject *key
    cdef PyObject *value
    cdef PyObject *said[5]
    cdef int i
    for i in range(times):
        at = 0
        while PyDict_Next(message, &at, &key, &value):
            if key == <PyObject *> TYPE: said[0] = value
            elif key == <PyObject *> BODY: said[1] = value
            elif key == <PyObject *> MORE: said[2] = value
            elif key == <PyObject *> STATUS: said[3] = value
            elif key == <PyObject *> HEADERS: said[4] = value

def look_up(dict message, int times):
    cdef int i
    for i in range(times):
        message.get("type")
        if "status" in message:
            message.get("status")
            message.get("headers", ())
        else:
            message.get("body", b"")
            message.get("more_body", False)
"""

MESSAGES: dict[str, dict[str, Any]] = {
    "start": {"type": "http.response.start", "status": 200, "headers": []},
    "body": {"type": "http.response.body", "body": b"Hello, world!"},
}
TIMES = 1000


def build() -> Any:
    """The two ways, compiled; it takes Cython and setuptools."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "message_ways.pyx")
        path.write_text(SOURCE)
        subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", str(path)], check=True)
        sys.path.insert(0, folder)
        return importlib.import_module("message_ways")


def main() -> None:
    ways = build()
    print(f"{TIMES} messages each")
    for name, message in MESSAGES.items():
        compare(
            (f"{name}: one walk", lambda message=message: ways.walk(message, TIMES)),
            (f"{name}: look-ups", lambda message=message: ways.look_up(message, TIMES)),
            200,
        )


if __name__ == "__main__":
    main()
