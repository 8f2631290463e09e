"""Descriptive statistics and regression models over data integration centres (DIZ), equal to those of the pooled rows.

A reader's map, in the order in which data flow:

* `packaged`, `prepare`: at the desk, before a run. Public sets out of installed packages are dealt out to virtual DIZ;
* `table`, `store`, `site_statistics`, `site_elastic_net`, `site_glm`, `site_cox`, `client_app`: what runs at a DIZ,
  inside the sandbox;
* `server_app`, `settings`, `analyses`, `models`, `report`, `plots`: what runs at the hub, on sums;
* `compare`, `oracles`: at the desk, after a run.

Nothing imported by `client_app` imports flame_fl or flame_strategies: inside the sandbox there is only this app,
Flower, numpy and pyarrow.
"""
