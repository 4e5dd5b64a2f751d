"""What ``receive`` and ``send`` return."""


cdef class Done:
    pass


cdef Done DONE


cdef object OVER


cdef class Waiting:
    cdef object result

    cdef object poll(self)


cdef int step_fast(type kind) except -1
cdef void forget_result() noexcept


cdef class Turn(Waiting):
    cdef bint taken


cdef class TheLoop:
    cdef object loop


# What all wake-ups of a loop have in common
cdef class ForWakeups:
    cdef object loop
    # A method that returns it, made once: a task asks for it whenever it begins to wait
    cdef object get_loop
    # A future that is done and has no result
    cdef object finished


cdef class Wakeup:
    cdef ForWakeups shared
    cdef readonly object get_loop
    cdef object callback
    cdef object context
    cdef bint is_done
    cdef bint is_cancelled
    cdef object message
    # By this name tasks know a future
    cdef public bint _asyncio_future_blocking
    # Another one that waits for the same
    cdef Wakeup next

    cdef int wake(self, bint at_once) except -1
    cdef int schedule(self) except -1


cdef object as_exception(kind, value, traceback)
