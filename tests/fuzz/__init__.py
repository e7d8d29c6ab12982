"""Malformed inputs to every reader, by the thousand: `make fuzz`; some of each in `make test`."""
