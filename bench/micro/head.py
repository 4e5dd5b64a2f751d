"""A RequestHead is a tuple: ten of its fields read as items by compiled code, against ten read as attributes.

Both are compiled here, from the text below, so this needs Cython and a C compiler.
Run: python -m bench.micro.head
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from esg_parser import RequestHead, RequestParser

from bench.micro.compare import compare

REQUEST = b"GET /index.html?a=b HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n"
FIELDS = RequestHead._fields[:10]
TIMES = 1000

SOURCE = f"""
# cython: language_level=3, boundscheck=False, wraparound=False

def by_attribute(head, int times):
    for _ in range(times):
        {"; ".join(f"value = head.{name}" for name in FIELDS)}
    return value

def by_item(head, int times):
    for _ in range(times):
        {"; ".join(f"value = (<tuple> head)[{at}]" for at in range(len(FIELDS)))}
    return value
"""


def compiled(source: str) -> ModuleType:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "head_reads.pyx")
        path.write_text(source)
        subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", path], check=True)
        (built,) = (file for file in Path(folder).glob("head_reads.*") if file.suffix in (".so", ".pyd"))
        spec = spec_from_file_location(path.stem, built)
        assert spec and spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def main() -> None:
    reads = compiled(SOURCE)
    head = RequestParser().feed(REQUEST)[0]
    assert reads.by_attribute(head, 1) == reads.by_item(head, 1) == head[9]
    print(f"{len(FIELDS)} fields of a head, {TIMES} times")
    compare(
        ("by attribute", lambda: reads.by_attribute(head, TIMES)),
        ("by item", lambda: reads.by_item(head, TIMES)),
        100,
    )


if __name__ == "__main__":
    main()
