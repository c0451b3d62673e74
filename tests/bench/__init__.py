"""Speed, memory and latency against their bars: `make bench`."""
