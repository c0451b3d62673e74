"""The service: sources in, events out, watched all the while."""
