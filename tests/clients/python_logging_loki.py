"""Sends each line of standard input through python-logging-loki, one push a line."""

import logging
import sys

import logging_loki

handler = logging_loki.LokiHandler(
    url=sys.argv[1] + "/loki/api/v1/push", tags={"application": "python"}, version="1"
)
# A push that fails would otherwise only be printed.
handler.handleError = lambda record: sys.exit(1)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
for line in sys.stdin:
    logger.info("%s", line.rstrip("\n"), extra={"tags": {"order": "kept"}})
