# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
# cython: nonecheck=True
"""An application's run, and what its end says."""

from cpython.ref cimport Py_DECREF, PyObject
from cython cimport freelist

from esg_protocols.asgi.awaitables cimport DONE, OVER, Turn, Waiting, Wakeup, as_exception, forget_result, step_fast
from esg_protocols.asgi.base cimport StreamProtocol
from esg_protocols.asgi.context cimport ServerContext

from asyncio import CancelledError
from types import CoroutineType

from esg_protocols.errors import ClientDisconnected

cdef enum:
    # Messages that an app may send before the loop gets a turn, however fast the client takes them.
    SENDS_IN_A_ROW = 64

cdef type coroutine_type = CoroutineType
# What the task and the loop must see; every other exception of an application ends with its exchange.
cdef tuple FOR_THE_LOOP = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


cdef extern from "Python.h":
    PySendResult PyIter_Send(object, object, PyObject **) except PYGEN_ERROR
    Py_ssize_t Py_REFCNT(PyObject *)


cdef class AppSide:
    """What an application runs for: an exchange, or a WebSocket."""

    cdef int run_app(self, ServerContext context, dict scope, receive, send) except -1:
        """Run the application in a task of its own. With eager tasks its first step is over when this returns."""
        cdef AppRun run = AppRun.__new__(AppRun)
        run.side = self
        run.app = context.app
        run.scope = scope
        run.receive_method = receive
        run.send_method = send
        self.ended = False
        task = context.start_task(run)
        if not self.ended:
            self.task = task
            context.tasks.add(task)
        return 0

    cdef int note_end(self, ServerContext context) except -1:
        self.ended = True
        if self.task is not None:
            context.forget_task(self.task)
            self.task = None
        return 0

    cdef Wakeup wait(self, ServerContext context):
        """What ``receive`` waits for."""
        cdef Wakeup waiter = self.spare_waiter
        # The attribute and the variable: the task that waited for it has gone on.
        if waiter is None or Py_REFCNT(<PyObject *> waiter) != 2:
            waiter = context.make_wakeup()
        else:
            waiter.is_done = waiter.is_cancelled = False
        while self.waiter is not None and self.waiter.is_done:
            self.waiter = self.waiter.next  # those that were cancelled go
        waiter.next = self.waiter
        self.waiter = waiter
        return waiter

    cdef int wake(self, bint at_once) except -1:
        """Let those that wait look again: in the loop's next turn, or before this returns."""
        cdef Wakeup waiter = self.waiter
        self.waiter = None
        while waiter is not None:
            waiter.wake(at_once)
            self.spare_waiter = waiter
            waiter = waiter.next
        return 0

    cdef object after_send(self, StreamProtocol protocol, bint last):
        """What ``send`` returns: an awaitable that lets the client catch up, or others have their turn."""
        cdef Drain drain
        self.sends += 1
        if protocol.writing_paused:
            drain = Drain.__new__(Drain)
            drain.protocol = protocol
            drain.side = self
            drain.last = last
            return drain
        return DONE if self.sends % SENDS_IN_A_ROW else Turn()

    cdef int end(self, error) except -1:
        """The application has returned, or raised ``error``."""
        raise AssertionError


cdef class Drain(Waiting):
    cdef object poll(self):
        if self.protocol.broken or self.side.disconnected:
            raise ClientDisconnected("the client has gone")
        if self.protocol.lost or not self.protocol.writing_paused or self.last and self.waited:
            return OVER
        self.waited = True
        return self.protocol.wait_for_drain()


step_fast(Drain)


@freelist(16)
cdef class AppRun:
    """The coroutine of a task: it calls the application and steps what that returns.

    So the application is called inside its task, whatever kind of callable it is, and its end is seen where it happens,
    without a callback. A coroutine in all but type, like those of awaitables.pyx.
    """

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef PyObject *yielded = NULL
        if self.step(&yielded) != PYGEN_NEXT:
            raise StopIteration
        return take_reference(yielded)

    def send(self, value):
        return self.__next__()

    def throw(self, kind, value=None, traceback=None):
        try:
            if self.coroutine is None:
                raise as_exception(kind, value, traceback)
            return self.coroutine.throw(as_exception(kind, value, traceback))
        except StopIteration:
            self.side.end(None)
        except BaseException as error:
            self.side.end(error)
            if isinstance(error, FOR_THE_LOOP):
                raise
        raise StopIteration

    def close(self):
        if self.coroutine is not None:
            self.coroutine.close()

    def __getattr__(self, str name):
        # Debuggers and anyio look at a task's coroutine: cr_frame, cr_running and the like are the application's.
        if name.startswith("cr_"):
            return getattr(self.coroutine, name)
        raise AttributeError(name)

    cdef PySendResult step(self, PyObject **yielded) except PYGEN_ERROR:
        cdef PySendResult result
        try:
            if self.coroutine is None:
                self.coroutine = steps_of(self.call_app())
            result = PyIter_Send(self.coroutine, None, yielded)
        except BaseException as error:
            self.side.end(error)
            if isinstance(error, FOR_THE_LOOP):
                raise
            return PYGEN_RETURN
        forget_result()
        if result == PYGEN_RETURN:
            take_reference(yielded[0])
            self.side.end(None)
        return result


    cdef object call_app(self):
        cdef dict scope = self.scope
        receive, send = self.receive_method, self.send_method
        self.scope = self.receive_method = self.send_method = None
        return self.app(scope, receive, send)


cdef bint is_about_the_client(error) except -1:
    """Whether an app ended because its client had left: by our error, by its own in place of it, or cancelled."""
    cdef int depth
    for depth in range(16):
        if error is None or isinstance(error, (ClientDisconnected, CancelledError)):
            return error is not None
        if hasattr(error, "exceptions"):  # what a task group makes of it
            return all([is_about_the_client(part) for part in error.exceptions])
        error = error.__cause__ or error.__context__
    return False


cdef object take_reference(PyObject *owned):
    """The object of a reference that is ours, as one that Cython counts."""
    cdef object taken = <object> owned
    Py_DECREF(taken)
    return taken


cdef object steps_of(awaitable):
    """What to step when an application is awaited."""
    if type(awaitable) is coroutine_type:
        return awaitable
    try:
        return awaitable.__await__()
    except AttributeError:
        raise TypeError(f"the application returned {awaitable!r}, which cannot be awaited") from None
