"""Kernel ridge regression of age across data integration centres (DIZ), by randomised encoding.

A reader's map, in the order in which data flow:

* `cohort`: what a DIZ holds, standardised by public constants;
* `agreement`: keys that the DIZ agree on through the hub, sealed seeds, one-time pads;
* `rotation`: the secret orthogonal matrix that hides everything but inner products;
* `client_app`: what runs at a DIZ, inside the sandbox, from the three above;
* `kernel`, `exchange`, `server_app`, `report`: what runs at the hub, on encoded rows;
* `compare`: at the desk, after a simulation.

What is written in README.md under "What the hub learns" is the reason to prefer sums wherever sums will do.
"""
