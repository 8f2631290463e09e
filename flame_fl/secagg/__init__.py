"""Secure aggregation: a hub that adds up what the DIZ send learns the sum, and of each DIZ's part nothing else.

Double masking with dropouts after Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine
Learning" (CCS 2017), with keys that the DIZ's identities sign, fresh for every sum and shared one sum ahead. Pure:
values in, values out; `flame_fl.gate` decides when, and keeps the state; `flame_strategies` drives the hub's half.

```
parameters   how many DIZ may drop out or collude, and the threshold that follows
streams      masks: a 256-bit key to a stream of uint32 or uint64
sharing      Shamir shares of a 256-bit secret
keys         X25519 agreement, sealed messages between DIZ, signed statements
messages     what travels, as strict models
epoch        what a DIZ remembers of one set-up
node         the DIZ's half: advertise, share, mask, sign who is alive, unmask
hub          the hub's half: collect, ask, remove the masks
encoding     fixed point, with a range in which no sum wraps around
counted      counts that are added up only where their total is at least k, by `threshold_test`
threshold_…  the minimum-count test, on shares of a prime field (`field`); docs/mpc.md
```
docs/secure-aggregation.md has the protocol, its proof and what it does not protect.
"""
