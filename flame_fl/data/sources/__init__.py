"""Where a store is fetched from, if it is not a folder of the node: S3, FHIR."""
