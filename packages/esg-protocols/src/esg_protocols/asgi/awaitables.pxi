"""What ``receive`` and ``send`` return. Part of http.pyx.

Coroutines in all but type: asyncio.create_task, asyncio.iscoroutine and wait_for take them, and one that need not wait
costs no frame and no turn of the loop: bench/micro/awaitables.py.
"""

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


cdef Done DONE = Done()


cdef object as_exception(kind, value, traceback):
    """The exception of a ``throw``, which may come as one, two or three arguments."""
    cdef object error = kind if isinstance(kind, BaseException) else value
    if not isinstance(error, BaseException):
        error = kind() if error is None else kind(error)
    return error if traceback is None else error.with_traceback(traceback)


cdef class Waiting:
    """An awaitable that looks whether it must wait when it is first stepped, and again whenever it is woken."""

    cdef object future_steps

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.step()

    def send(self, value):
        return self.step()

    def throw(self, kind, value=None, traceback=None):
        self.future_steps = None
        raise as_exception(kind, value, traceback)

    def close(self):
        self.future_steps = None

    cdef object step(self):
        cdef object future
        while True:
            if self.future_steps is not None:
                try:
                    return next(self.future_steps)
                except StopIteration:
                    self.future_steps = None
            future = self.poll()
            self.future_steps = iter(future)

    cdef object poll(self):
        """Raise StopIteration with the result, or return a future to wait for."""
        raise AssertionError


cdef class Receive(Waiting):
    cdef Exchange exchange

    cdef object poll(self):
        cdef dict message = self.exchange.next_message()
        if message is not None:
            raise StopIteration(message)
        return self.exchange.wait_for_input()


cdef class Drain(Waiting):
    cdef HTTPProtocol protocol
    # Behind a whole response once is enough: what fills the buffer again is the responses behind it
    cdef bint last
    cdef bint waited

    cdef object poll(self):
        if self.protocol.broken:
            raise ClientDisconnected("the client has gone")
        if self.protocol.lost or not self.protocol.writing_paused or self.last and self.waited:
            raise StopIteration
        self.waited = True
        future = self.protocol.context.loop.create_future()
        self.protocol.drain_waiters = with_waiter(self.protocol.drain_waiters, future)
        return future


cdef list with_waiter(list waiters, future):
    """The futures still waited for, and one more; cancelled ones go."""
    if waiters is None:
        return [future]
    return [waiter for waiter in waiters if not waiter.done()] + [future]


cdef class Turn(Waiting):
    """The awaitable of a ``send`` that lets others have their turn."""

    cdef bint taken

    cdef object step(self):
        if self.taken:
            raise StopIteration
        self.taken = True
        return None  # a task that is given nothing to wait for goes on in the loop's next turn
