"""Numbers of bytes as people write them."""


def size(byte_count: int) -> str:
    """Such as `12.3 kB` or `4.5 MB`."""
    if byte_count < 1_000_000:
        return f"{byte_count / 1000:.1f} kB"
    return f"{byte_count / 1_000_000:.1f} MB"
