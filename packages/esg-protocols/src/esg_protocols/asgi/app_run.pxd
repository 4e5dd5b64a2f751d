"""An application's run."""

from cpython.ref cimport PyObject

from esg_protocols.asgi.awaitables cimport Waiting, Wakeup
from esg_protocols.asgi.base cimport StreamProtocol
from esg_protocols.asgi.context cimport ServerContext


cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT


cdef class AppSide:
    cdef object task
    cdef bint ended
    # Who waits in ``receive``; the last one first
    cdef Wakeup waiter
    cdef Wakeup spare_waiter
    # The client has gone, or the server takes it that way
    cdef bint disconnected
    # Messages that the application has sent
    cdef int sends

    cdef int run_app(self, ServerContext context, dict scope, receive, send) except -1
    cdef int note_end(self, ServerContext context) except -1
    cdef Wakeup wait(self, ServerContext context)
    cdef int wake(self, bint at_once) except -1
    cdef object after_send(self, StreamProtocol protocol, bint last)
    cdef int end(self, error) except -1


cdef class Drain(Waiting):
    cdef StreamProtocol protocol
    cdef AppSide side
    # Behind a whole response once is enough: what fills the buffer again is the responses behind it
    cdef bint last
    cdef bint waited


cdef class AppRun:
    cdef AppSide side
    cdef object app
    # What it is called with: who it runs for may have given up its methods before a task has its first turn
    cdef dict scope
    cdef object receive_method
    cdef object send_method
    cdef object coroutine

    cdef PySendResult step(self, PyObject **yielded) except PYGEN_ERROR
    cdef object call_app(self)


cdef bint is_about_the_client(error) except -1
