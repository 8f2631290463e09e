"""A researcher's side of a run at a hub: submit, follow, fetch, report."""
