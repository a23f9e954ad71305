//! What a scrape reads: negotiation, encoders, exemplars and foreign metrics.
