"""Compares two pages of Prometheus metrics: what an old exporter says, and what Tachograph says.

    python3 compare_pages.py before.txt 'http://localhost:8001/api/monitoring/metrics?vocabulary=data20'

Each is a file or an address. Families of the first page are compared by the sum of their samples
(of a histogram: how many observations), as the values of labels may differ. Counters of both begin
when their process does: start both before the same traffic. Exit status 1 where a family is
missing on the second page.
"""

import sys
import urllib.request


def read(place):
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=10) as page:
            return page.read().decode()
    with open(place) as page:
        return page.read()


def families(text):
    """Sum by family, of all its series; its type first."""
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
        if not line or line.startswith("#"):
            continue
        name = line.split("{")[0].split(" ")[0]
        value = float(line.rsplit("}", 1)[-1].split()[0 if "{" in line else 1])
        base = name
        for ending in ("_bucket", "_sum", "_count"):
            if name.endswith(ending) and kinds.get(name.removesuffix(ending)) in ("histogram", "summary"):
                base = name.removesuffix(ending) if ending == "_count" else None
        # `_created` is a time, and no figure of the application.
        if base and not name.endswith("_created"):
            found[base] = found.get(base, 0) + value
    return found


def main(before, after):
    old, new = families(read(before)), families(read(after))
    missing = [name for name in old if name not in new]
    for name in sorted(old):
        there, here = old[name], new.get(name)
        mark = "missing" if here is None else "same" if there == here else f"{here - there:+g}"
        print(f"{name:50} {there:>12g} {'-' if here is None else f'{here:g}':>12} {mark}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
