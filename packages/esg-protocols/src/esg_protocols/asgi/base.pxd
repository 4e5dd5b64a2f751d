"""The transport's side of a connection."""

from esg_protocols.asgi.context cimport ServerContext

cdef enum:
    # Fewer bytes than this wait for their round. More are worth a system call of their own, and are in the processor's
    # cache when they have just been read.
    LEAST_AT_ONCE = 16384


cdef class StreamProtocol:
    cdef ServerContext context
    cdef readonly object transport
    cdef object transport_write
    cdef object transport_writelines
    # What leaves in the next round
    cdef bytes outgoing
    # It has us on its list of those that write
    cdef bint posted
    # Over TLS
    cdef bint secure
    # What the transport reads it copies, unless we have a buffer for it
    cdef bint copies_reads
    # When the connection has waited long enough, on the clock's time; 0 is never
    cdef public double deadline
    # What was left of it when reading was paused: our own slowness is not held against the client
    cdef double held
    # When the client must have taken more of what is written; 0 is never
    cdef double write_deadline
    cdef long long unwritten
    # Bytes of the body that the system takes from a file, beside what the transport holds
    cdef long long outside
    # Flow control: ours towards the client, the client's towards us
    cdef bint reading_paused
    cdef bint writing_paused
    cdef list drain_waiters
    # The last bytes are written; what still comes in is thrown away
    cdef bint lingering
    # The client has not said that it is at the end, and a close would reset the connection
    cdef bint may_be_sending
    cdef long long thrown_away
    cdef bint lost
    # Lost before we ended it, so that what was written may not have arrived
    cdef bint broken

    cdef int write(self, data) except -1
    cdef int hold_back(self, bytes data) except -1
    cdef int post(self) except -1
    cdef int write_out(self) except -1
    cdef int go_on_in_round(self) except -1
    cdef int go_on_with_read(self) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int set_deadline(self, double seconds) except -1
    cdef int clear_deadline(self) noexcept
    cdef int extend_deadline(self, double seconds, Py_ssize_t size) noexcept
    cdef double extended(self, double deadline, double seconds, long long size) noexcept
    cdef int watch_writing(self) except -1
    cdef int check_writing(self) except -1
    cdef int close(self) except -1
    cdef int finish(self, bint client_may_be_sending) except -1
    cdef int throw_away(self, Py_ssize_t size) except -1
    cdef int check_goodbye(self) except -1
    cdef long long to_be_written(self) except -1
    cdef object wait_for_drain(self)
    cdef int wake_drains(self) except -1


cdef class Round:
    cdef ServerContext context
    cdef list starters
    cdef list senders
    cdef object run_method
    # When it was called for, or all that was held back left before it came
    cdef double since
    # The loop has been asked to call
    cdef bint due

    cdef int start(self, StreamProtocol starter) except -1
    cdef int write(self, StreamProtocol sender) except -1
    cdef int call(self) except -1
    cdef int start_all(self) except -1
    cdef int write_overdue(self) except -1
    cdef int write_all(self) except -1
    cdef int tell(self, StreamProtocol connection, error) except -1
