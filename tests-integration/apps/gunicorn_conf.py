"""gunicorn's configuration where its worker stands for the esg command: the same lines in the log, one worker."""

accesslog = "-"
keepalive = 5
worker_connections = 0
graceful_timeout = 30
control_socket_disable = True  # else its thread writes a line at any time
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "esg.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"},
    },
    "handlers": {
        "default": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
    },
    "root": {"level": "INFO", "handlers": ["default"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["default"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["default"], "propagate": False},
    },
}
