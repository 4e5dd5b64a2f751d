"""The proof, before anything is measured, that a server does the work of a workload."""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus

from . import messages
from .process import HOST, InvalidRun, ServerProcess
from .workloads import Workload


def prove(process: ServerProcess) -> None:
    """Raises InvalidRun if an answer is wrong, and OSError or HTTPException if there is none yet."""
    workload = process.workload
    if workload.talk is None:
        _request_twice(workload, process.port)
    else:
        messages.probe(workload.talk, process.url)


def _request_twice(workload: Workload, port: int) -> None:
    probe = workload.probe
    connection = _connection(workload, port)
    try:
        for _ in range(2):
            connection.request(probe.method, workload.path, probe.body, dict(probe.headers))
            sock = connection.sock
            response = connection.getresponse()
            body = response.read()
            if response.status != HTTPStatus.OK or body != probe.answer:
                raise InvalidRun(f"wrong answer: {response.status} {body[:100]!r}")
            for name, value in probe.fields:
                if (found := response.getheader(name, "none")).lower() != value:
                    raise InvalidRun(f"the answer has {name}: {found} and not {value}")
            if probe.keeps and connection.sock is not sock:
                raise InvalidRun("the server closed a keep-alive connection")
    finally:
        connection.close()


def _connection(workload: Workload, port: int) -> http.client.HTTPConnection:
    if not workload.tls:
        return http.client.HTTPConnection(HOST, port, timeout=2)
    # The certificate is of our own making; who shows it is no question here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(HOST, port, timeout=2, context=context)
