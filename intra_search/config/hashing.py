"""Hashes of values, equal in every process and on every machine."""

import hashlib
import json
from typing import Any


def json_hash(value: Any) -> str:
    """SHA-256, in hex, of a value's JSON text with sorted keys. Stored in studies: the text must never change."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
