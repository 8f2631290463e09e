"""Where apps run.

`in_process` and `subprocess` are for tests and for a researcher's own machine: neither confines hostile code. What a
DIZ uses is a container that speaks the same frames.
"""
