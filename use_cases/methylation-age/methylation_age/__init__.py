"""Age from DNA methylation, trained across data integration centres (DIZ).

A reader's map, in the order in which data flow:

* `quality`, `packaged`, `split`, `shift`, `prepare`: at the desk, before a run. Own tables are checked, packaged sets
  are dealt out to virtual DIZ;
* `panel`, `cohort`, `sums`, `site_adaptation`, `evaluation`, `mlp`, `client_app`: what runs at a DIZ, in the sandbox;
* `server_app`, `elastic_net_run`, `adaptation_run`, `mlp_run`, `evaluation_run`, `folds`, `similarity`, `diagnosis`,
  `clock`, `plots`, `report`: what runs at the hub, on sums and updates;
* `compare`, `compare_report`, `adaptation_check`, `direct_gp`, `baselines`, `apply`: at the desk, after a run.

`horvath` is the age transform that all of them share; `spectrum` and `feature_models`, the algebra of the adaptation,
run at the hub and at the DIZ. Nothing imported by `client_app` imports flame_fl or flame_strategies: inside the sandbox
there is only this app, Flower, numpy, pyarrow, scipy (for the confidences) and torch (for the MLP).
"""
