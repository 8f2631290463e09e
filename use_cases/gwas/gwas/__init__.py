"""Genome-wide association over data integration centres (DIZ), equal to the pooled analysis.

A reader's map, in the order in which data flow:

* `packaged`, `synthetic`, `readers`, `quality`, `prepare`, `panel_command`: at the desk, before a run. Sets and own
  files become one folder per DIZ;
* `site`, `store`, `genotypes`, `harmonise`, `panel`, `approved`, ``site_...``, `client_app`: what runs at a DIZ, inside
  the sandbox: sums over its samples, one module for each kind of question;
* `server_app`, `settings`, `presets`, `hub` and the modules ``..._run``, `results`, `output`: what runs at the hub, on
  sums;
* `compare`, `plot`, `score`: at the desk, after a run.

Nothing imported by `client_app` imports flame_fl or flame_strategies.
"""
