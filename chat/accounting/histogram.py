"""Histograms of milliseconds: the buckets in which the times of calls are counted, and their percentiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import ceil

# Milliseconds are counted in ten buckets for each doubling, so a bucket is at most 10 % wide. Below 16 ms each
# millisecond has its own. Whole numbers only: both databases and Python agree to the last call.
EXACT_BELOW = 16
PER_DOUBLING = 10
_FIRST_POWER = EXACT_BELOW.bit_length() - 1
_POWERS = range(_FIRST_POWER, 31)  # a ledger row holds at most 2**31 - 1 ms


def find_bucket(ms: int) -> int:
    """Return the number of the bucket that counts this many milliseconds."""
    if ms < EXACT_BELOW:
        return ms
    power = ms.bit_length() - 1
    return EXACT_BELOW + (power - _FIRST_POWER) * PER_DOUBLING + (ms - (1 << power)) * PER_DOUBLING // (1 << power)


def write_bucket_sql(column: str) -> str:
    """Return `find_bucket` as SQL. The column's values must be 64 bits wide, or the multiplication overflows."""
    steps = [f"WHEN {column} < {EXACT_BELOW} THEN {column}"]
    for power in _POWERS:
        low, first = 1 << power, EXACT_BELOW + (power - _FIRST_POWER) * PER_DOUBLING
        steps.append(f"WHEN {column} < {low * 2} THEN {first} + ({column} - {low}) * {PER_DOUBLING} / {low}")
    return f"CASE {' '.join(steps)} END"


def find_middle(bucket: int) -> float:
    """Return the milliseconds that stand for a bucket; at most 5 % from any of its own."""
    if bucket < EXACT_BELOW:
        return bucket
    power, step = divmod(bucket - EXACT_BELOW, PER_DOUBLING)
    low = 1 << (power + _FIRST_POWER)
    first, after = (low + -(-low * edge // PER_DOUBLING) for edge in (step, step + 1))
    return (first + after - 1) / 2


def compute_percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the nearest-rank percentile of a histogram by bucket, in milliseconds; None when it is empty."""
    buckets = sorted(counts)
    reached = list(accumulate(counts[bucket] for bucket in buckets))
    if not reached or not reached[-1]:
        return None
    rank = ceil(share * reached[-1])
    return find_middle(next(bucket for bucket, upto in zip(buckets, reached, strict=True) if upto >= rank))


def count_buckets(values: Iterable[int]) -> dict[int, int]:
    """Count the milliseconds in each bucket."""
    counts: dict[int, int] = {}
    for ms in values:
        bucket = find_bucket(ms)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts
