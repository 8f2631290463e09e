"""Candidate variants and a quantitative trait under differential privacy: one release, unit patient.

A reader's map:

* `variants`, `terms`: the analysis as a DIZ approves it (`pyproject.toml`), for each epsilon;
* `prepare`: at the desk, before a run; synthetic patients, or a table of one's own;
* at a DIZ nothing of this app runs: under `ground = "vetted"` the sandbox has flame_fl's own code alone;
* `server_app`, `association`: at the hub, on noised sums;
* `compare`, `price`: at the desk, after a run.
"""
