# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False, binding=False
# cython: nonecheck=True
"""What ``receive`` and ``send`` return.

Coroutines in all but type: asyncio.create_task, asyncio.iscoroutine and wait_for take them, and one that need not wait
costs no frame and no turn of the loop: bench/micro/awaitables.py.
"""

from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject_GenericGetAttr, PyObject_GenericSetAttr
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject

from asyncio import CancelledError, Future, current_task
from types import BuiltinFunctionType

cdef object running_task = current_task  # no look-up by name for every wake-up
cdef type builtin = BuiltinFunctionType
cdef str BLOCKING = "_asyncio_future_blocking"
cdef str GET_LOOP = "get_loop"


cdef extern from "Python.h":
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    ctypedef struct PyTypeObject:
        iternextfunc tp_iternext
    ctypedef struct PyStopIterationObject:
        PyObject *value
    Py_ssize_t Py_REFCNT(PyObject *)
    void Py_INCREF_POINTER "Py_INCREF"(PyObject *)
    void PyErr_Restore(PyObject *kind, PyObject *value, PyObject *traceback)
    void PyErr_SetObject(PyObject *kind, PyObject *value)


cdef class Done:
    """The awaitable of a ``send`` that need not wait. It keeps nothing, so one serves all."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def send(self, value):
        raise StopIteration

    def throw(self, kind, value=None, traceback=None):
        raise as_exception(kind, value, traceback)

    def close(self):
        pass


DONE = Done()


cdef object as_exception(kind, value, traceback):
    """The exception of a ``throw``, which may come as one, two or three arguments."""
    cdef object error = kind if isinstance(kind, BaseException) else value
    if not isinstance(error, BaseException):
        error = kind() if error is None else kind(error)
    return error if traceback is None else error.with_traceback(traceback)


OVER = object()


cdef class Waiting:
    """An awaitable that looks whether it must wait when it is first stepped, and again whenever it is woken."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        waited = self.poll()
        if waited is OVER:
            result, self.result = self.result, None
            raise StopIteration(result)
        return block_on(waited)

    def throw(self, kind, value=None, traceback=None):
        raise as_exception(kind, value, traceback)

    def close(self):
        pass

    cdef object poll(self):
        """Return a future to wait for, None for a turn of the loop, or OVER when the result stands in ``result``."""
        raise AssertionError


cdef inline object block_on(future):
    """What a task is given to wait for a future; given nothing, it goes on in the loop's next turn."""
    if type(future) is Wakeup:
        (<Wakeup> future)._asyncio_future_blocking = True
    elif future is not None:
        future._asyncio_future_blocking = True
    return future


cdef PyObject *next_step(PyObject *waiting) noexcept:
    """``__next__`` without the traceback that every raise leaves behind: bench/micro/awaitables.py."""
    cdef object waited, result, kind
    try:
        waited = (<Waiting> waiting).poll()
        if waited is OVER:
            result = (<Waiting> waiting).result
            (<Waiting> waiting).result = None
            if result is not None:
                stop_with(result)
            return NULL
        block_on(waited)
        Py_INCREF(waited)
        return <PyObject *> waited
    except BaseException as error:
        kind = type(error)
        PyErr_SetObject(<PyObject *> kind, <PyObject *> error)
        return NULL


# The exception by which a result is handed over; whoever takes the result lets go of it at once.
cdef PyObject *stop = NULL


cdef int stop_with(result) except -1:
    """``raise StopIteration(result)`` with the exception of the last time: bench/micro/awaitables.py."""
    global stop
    cdef object made
    if stop == NULL or Py_REFCNT(stop) != 1:
        made = StopIteration()
        Py_XDECREF(stop)
        stop = <PyObject *> made
        Py_INCREF_POINTER(stop)
        del made
    forget_result()
    Py_INCREF(result)
    (<PyStopIterationObject *> stop).value = <PyObject *> result
    Py_INCREF_POINTER(<PyObject *> StopIteration)
    Py_INCREF_POINTER(stop)
    # Unlike PyErr_SetObject it makes no chain to what an application is handling.
    PyErr_Restore(<PyObject *> StopIteration, stop, NULL)
    return 0


cdef void forget_result() noexcept:
    """Let nothing live on for having been handed over."""
    cdef PyObject *value
    if stop != NULL and Py_REFCNT(stop) == 1:
        value = (<PyStopIterationObject *> stop).value
        (<PyStopIterationObject *> stop).value = NULL
        Py_XDECREF(value)


cdef int step_fast(type kind) except -1:
    """Let a kind of awaitable be stepped by ``next_step``; each must say so, as types take their slots over early."""
    (<PyTypeObject *> kind).tp_iternext = <iternextfunc> next_step
    return 0


cdef class Turn(Waiting):
    """The awaitable of a ``send`` that lets others have their turn."""

    cdef object poll(self):
        if self.taken:
            return OVER
        self.taken = True
        return None


step_fast(Turn)


cdef class TheLoop:
    def get(self):
        return self.loop


cdef class ForWakeups:
    def __cinit__(self, loop):
        cdef TheLoop the_loop = TheLoop.__new__(TheLoop)
        the_loop.loop = self.loop = loop
        self.get_loop = the_loop.get
        self.finished = Future(loop=loop)
        self.finished.set_result(None)


cdef class Wakeup:
    """A future of the event loop's kind that steps its waiter in the moment it is woken, not in the loop's next turn.

    Neither a handle nor a turn is needed, and what comes next finds its reader waiting again. Within a step of another task
    the waiter has to wait for its turn.
    """

    def __cinit__(self, ForWakeups shared):
        self.shared = shared
        self.get_loop = shared.get_loop

    # What a task asks of every future, answered without the look-ups of an attribute: bench/micro/served.py.

    def __getattribute__(self, name):
        if name is BLOCKING:
            return self._asyncio_future_blocking
        if name is GET_LOOP:
            return self.get_loop
        return PyObject_GenericGetAttr(self, name)

    def __setattr__(self, name, value):
        if name is BLOCKING:
            self._asyncio_future_blocking = value
        else:
            PyObject_GenericSetAttr(self, name, value)

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.is_done:
            self.result()
            raise StopIteration
        self._asyncio_future_blocking = True
        return self

    def add_done_callback(self, callback, *, context=None):
        self.callback = callback
        self.context = context
        if self.is_done:
            self.schedule()

    def remove_done_callback(self, callback):
        if self.callback != callback:
            return 0
        self.callback = None
        return 1

    def cancel(self, msg=None):
        if self.is_done:
            return False
        self.is_done = self.is_cancelled = True
        self.message = msg  # by which anyio knows its own
        self.schedule()
        return True

    def cancelled(self):
        return self.is_cancelled

    def done(self):
        return self.is_done

    def result(self):
        if self.is_cancelled:
            raise CancelledError() if self.message is None else CancelledError(self.message)

    def exception(self):
        self.result()

    cdef int wake(self, bint at_once) except -1:
        if self.is_done:
            return 0
        self.is_done = True
        if not at_once or self.callback is None or running_task(self.shared.loop) is not None:
            return self.schedule()
        callback, self.callback = self.callback, None
        context, self.context = self.context, None
        # A task asks what it waited for how it went. Of a future of asyncio's own it knows without a call, and all that
        # were woken went alike.
        went = self.shared.finished if type(callback) is builtin else self
        PyContext_Enter(context)
        try:
            callback(went)
        finally:
            PyContext_Exit(context)
        return 0

    cdef int schedule(self) except -1:
        if self.callback is not None:
            self.shared.loop.call_soon(self.callback, self, context=self.context)
            self.callback = self.context = None
        return 0
