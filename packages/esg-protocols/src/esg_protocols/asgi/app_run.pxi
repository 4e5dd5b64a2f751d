"""An application's run, and what its end says. Part of http.pyx."""

@freelist(16)
cdef class AppRun:
    """The coroutine of an exchange's task: it calls the application and steps what that returns.

    So the application is called inside its task, whatever kind of callable it is, and its end is seen where it happens,
    without a callback. A coroutine in all but type, like the awaitables above.
    """

    cdef Exchange exchange
    # What the application is called with: the exchange may have given up its methods before a task has its first turn
    cdef tuple arguments
    cdef object coroutine

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
            self.exchange.end(None)
        except BaseException as error:
            self.exchange.end(error)
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
            self.exchange.end(error)
            if isinstance(error, FOR_THE_LOOP):
                raise
            return PYGEN_RETURN
        if result == PYGEN_RETURN:
            take_reference(yielded[0])
            self.exchange.end(None)
        return result


    cdef object call_app(self):
        cdef tuple arguments = self.arguments
        self.arguments = None
        return PyObject_Call(self.exchange.protocol.context.app, arguments, NULL)


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
