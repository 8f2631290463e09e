"""Age from images of the head under differential privacy: a small convolutional network, trained by vetted DP-SGD.

A reader's map:

* `terms`: the analysis as a DIZ approves it (`pyproject.toml`), for each epsilon;
* `volumes`, `prepare`: at the desk, before a run; synthetic volumes, or NIfTI files of one's own, on a coarse grid;
* at a DIZ nothing of this app runs: under `ground = "vetted"` the sandbox has flame_fl's own code alone;
* `server_app`: at the hub, federated averaging of noised networks;
* `predict`, `compare`, `price`: at the desk, after a run.
"""
