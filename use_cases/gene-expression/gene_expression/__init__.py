"""Gene expression and phenotypes over data integration centres (DIZ), equal to the pooled analysis.

A reader's map, in the order in which data flow:

* `packaged`, `synthetic`, `readers`, `annotated`, `quality`, `prepare`: at the desk, before a run. Sets and own files
  become one folder per DIZ;
* `table`, `store`, `panel`, `site_...`, `validation`, `mlp`, `client_app`: what runs at a DIZ, inside the sandbox: sums
  over its samples, one module for each kind of question;
* `server_app`, `settings`, `presets`, `hub`, `differential_run`, `phenotype_run` with the modules `..._run` and
  `..._model`, `results`, `report`, `plots`: what runs at the hub, on sums;
* `compare`, `oracles`, `comparators`, `meta_analysis`: at the desk, after a run.

Nothing imported by `client_app` imports flame_fl or flame_strategies.
"""
