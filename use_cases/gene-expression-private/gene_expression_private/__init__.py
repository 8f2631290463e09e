"""Candidate genes between two groups under differential privacy: fold changes, or a classifier; unit patient.

A reader's map:

* `genes`, `terms`: the analysis as a DIZ approves it (`pyproject.toml`), for each epsilon, with the declared genes;
* `prepare`: at the desk, before a run; synthetic patients, or a table of one's own;
* at a DIZ nothing of this app runs: under `ground = "vetted"` the sandbox has flame_fl's own code alone;
* `server_app`, `expression`, `classifier`: at the hub, on noised sums;
* `compare`, `price`: at the desk, after a run.
"""
