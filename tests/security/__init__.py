"""What must not happen: secrets told, audio kept, code loaded, topics of others written."""
