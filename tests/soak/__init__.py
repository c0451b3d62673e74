"""`make soak`: days of audio through the whole service, many times as fast, with faults and a verdict."""
