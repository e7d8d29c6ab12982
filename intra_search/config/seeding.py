"""Seeds for independent purposes from one study seed, equal in every process and on every machine."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from numbers and words; unlike `hash`, it does not depend on the process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
