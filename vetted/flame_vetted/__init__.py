"""Patient-level differential privacy in a sandbox: per-patient sums and DP-SGD, from stated terms alone.

Under the ground "vetted" the gate starts `client:app` with no bundle: everything that is computed follows from the
approved terms, and what a message brings is numbers.

::

    views       a data store's view, read cell by cell
    cohort      which usable records belong to which patient; public standardisation
    rows        one vector per patient -> integers of bounded norm
    formulas    the closed list of sums                      sums      their noisy release
    network     stated models: gradients per record          sampling  who is in a batch
    dp_sgd      the steps                                    claim     clip norm, noise, sample rate, steps
    client      the ClientApp
    reviewed    the same steps on a torch module of the researcher's own, through Opacus (ground "reviewed")

Invariant: a patient's integers are a function of that patient's records and of public values, **bit for bit**. Sums
over a batch in matrix libraries break it: how they round depends on who else is in the batch. So every operation on
records here is an elementwise operation of IEEE 754, a loop of them, or exact (maximum, integer sum). Otherwise
one patient more would move the rounding of all others, and the stated sensitivity would be a little wrong.
"""
