"""Models over genome, phenome and imaging across data integration centres (DIZ), which need not have all of them.

A reader's map, in the order in which data flow:

* `brain`, `packaged`, `readers`, `phenotypes`, `prepare`, `quality`: at the desk, before a run. Sets and own files
  become one folder per DIZ;
* `site`, `store`, `image_store`, `images`, `dicom_files`, `image_checks`, `image_features`, `linkage`, `panel`, the
  modules ``..._site``, `approved`, `client_app`: what runs at a DIZ, inside the sandbox: sums over its patients;
* `server_app`, `settings`, `presets`, `hub`, the modules ``..._run``, `results`, `report`, `plots`: what runs at the
  hub, on sums.

Nothing imported by `client_app` imports flame_fl or flame_strategies.
"""
