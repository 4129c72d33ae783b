"""Money: prices, the ledger of upstream calls, its totals, quotas and reports."""
