# Write the genotypes of snpStats' for.exercise to a folder: snps.bed with .bim and .fam, and samples.tsv with the case
# and control labels and the population. R and its packages run as a program of their own.
#
#   Rscript export_snpstats.R FOLDER
folder <- commandArgs(trailingOnly = TRUE)[1]
if (!suppressMessages(requireNamespace("snpStats", quietly = TRUE))) {
  cat("missing: snpStats\n", file = stderr())
  quit(status = 3)
}
suppressMessages(library(snpStats))
data(for.exercise)
people <- rownames(snps.10)
support <- snp.support[colnames(snps.10), ]
write.plink(
  file.path(folder, "snps"), snps = snps.10, pedigree = people, id = people, chromosome = rep(10L, ncol(snps.10)),
  position = support$position, allele.1 = as.character(support$A1), allele.2 = as.character(support$A2)
)
subject <- subject.support[people, ]
write.table(
  data.frame(sample_id = people, case = subject$cc, stratum = as.character(subject$stratum)),
  file.path(folder, "samples.tsv"), sep = "\t", quote = FALSE, row.names = FALSE
)
