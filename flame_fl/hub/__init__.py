"""A federation's hub: Flower's SuperLink with accounts and projects, and the ServerApps in containers beside it.

Where to look: `init` makes it, `up` runs it, `registry` lets people and nodes in; `agent` starts what researchers sent,
`relay` is all that it can reach, `launch` is the process or container that it runs in.
"""
