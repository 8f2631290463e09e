"""The gate: what the hospital owns between Flower and the data.

Read `workflow.py` first: six numbered steps, the only way a message gets in and a release gets out. The decisions it
takes are pure functions in `approval.py` and `release.py`; what must survive a crash is in `store.py`; what proves it
afterwards is in `audit.py`.
"""
