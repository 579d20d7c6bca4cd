"""Sends each line of standard input through the OpenTelemetry SDK's batches over OTLP/HTTP."""

import logging
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

provider = LoggerProvider(resource=Resource.create({"service.name": "otel", "deployment.color": "blue"}))
exporter = OTLPLogExporter(endpoint=sys.argv[1] + "/otlp/v1/logs", compression=Compression.Gzip)
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=provider))
for line in sys.stdin:
    logger.warning("%s", line.rstrip("\n"), extra={"order": 7})
if not provider.force_flush():
    sys.exit("the batch was not taken")
provider.shutdown()
