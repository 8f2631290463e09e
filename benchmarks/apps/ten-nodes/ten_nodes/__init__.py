"""A linear model by federated averaging (McMahan et al., AISTATS 2017), in NumPy, on rows made in place.

It asks nothing of its runtime but Flower's message API, and computes for milliseconds: what a run of it takes is what
the runtime takes.
"""
