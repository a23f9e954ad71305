"""Reads pages with Prometheus' own Python parsers.

Input: pages, each as one byte ('t' text, 'o' OpenMetrics), its length (8 bytes, big-endian) and
the page. Output, for each: length (8 bytes) and JSON, either {"error": ...} or {"families": ...}.
"""

import json
import sys

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as text


def exemplar(sample):
    found = sample.exemplar
    return found and [found.labels, repr(float(found.value)), repr(float(found.timestamp))]


def read(kind, page):
    families = (open_metrics if kind == b"o" else text)(page)
    return [
        {
            "name": family.name,
            "type": family.type,
            "help": family.documentation,
            "unit": family.unit,
            "samples": [
                [s.name, s.labels, repr(float(s.value)), exemplar(s)] for s in family.samples
            ],
        }
        for family in families
    ]


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while kind := source.read(1):
        page = source.read(int.from_bytes(source.read(8), "big")).decode("utf-8")
        try:
            answer = {"families": read(kind, page)}
        except Exception as error:  # Whatever a page makes the parser do is the result.
            answer = {"error": repr(error)}
        body = json.dumps(answer).encode()
        sink.write(len(body).to_bytes(8, "big") + body)
        sink.flush()


main()
