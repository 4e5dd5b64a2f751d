"""Where things stand in an ``esg_parser.RequestHead``, which is a tuple: an item costs a tenth of an attribute."""


cdef enum:
    METHOD = 0
    PATH = 1
    RAW_PATH = 2
    QUERY_STRING = 3
    HTTP_VERSION = 4
    HEADERS = 5
    AUTHORITY = 7
    UPGRADE = 8
    CONTENT_LENGTH = 9
    CHUNKED = 10
    KEEP_ALIVE = 11
    EXPECT_CONTINUE = 12
