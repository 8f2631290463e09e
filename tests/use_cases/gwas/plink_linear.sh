#!/bin/sh
# What PLINK 2 says of frozen/plink_linear/study: run in that folder; writes the tables beside it. Synthetic data
# (plink_files.py: made_up(240, 90, 11) with chromosomes 1, 2, X, the part X shares with Y, and mitochondria).
# Made with PLINK v2.00a3.5.
set -e
plink2 --bfile study --out study --threads 1 --pheno study.phe --covar study.cov \
  --glm omit-ref hide-covar no-x-sex cols=chrom,pos,ref,alt,a1count,a1freq,nobs,beta,se,tz,p,err
plink2 --bfile study --out study --threads 1 --pheno study.phe --covar study.cov --require-pheno --require-covar \
  --hardy --freq counts --missing
plink2 --bfile study --out passed --threads 1 --pheno study.phe --covar study.cov --require-pheno --require-covar \
  --mind 0.06 --geno 0.04 --maf 0.1 --hwe 0.02 --write-snplist --write-samples
rm -f study.log passed.log
