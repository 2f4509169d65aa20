"""Figures on pages of the documentation, between two marks."""

import sys


def put(page, begin, end, lines):
    """Replaces what is between the marks."""
    before, begun, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise RuntimeError(f"{page} has lost its marks: {begin} … {end}")
    page.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{after}")
    print(f"wrote {page}", file=sys.stderr, flush=True)
