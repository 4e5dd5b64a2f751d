"""/srv/example/gunicorn.conf.py"""

bind = "unix:/run/example/gunicorn.sock"
umask = 0o007  # nobody but this user and its group, in which nginx is, may connect
workers = 4
worker_class = "esg.workers.ESGWorker"
max_requests = 100_000
max_requests_jitter = 10_000
graceful_timeout = 30
keepalive = 75  # longer than nginx keeps its connections
accesslog = "-"
raw_env = ["ESG_LIMIT_REQUEST_BODY=10000000", "ESG_TIMEOUT_REQUEST=60"]
