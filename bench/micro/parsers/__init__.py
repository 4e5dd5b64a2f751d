"""From bytes to a usable request: esg_parser against the parsers of other servers. See __main__.py."""
