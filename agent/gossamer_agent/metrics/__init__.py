"""Prometheus metrics of a running agent; docs/metrics.md has a table of them.

catalogue   names, types, labels and meanings
samples     what each metric is now (pure)
exposition  from a node to the text that a scraper reads
"""

from gossamer_agent.metrics.text import CONTENT_TYPE, exposition

__all__ = ["CONTENT_TYPE", "exposition"]
