# Write one public set of Bioconductor to a folder: values.bin (float64, genes x samples, by column), genes.txt,
# samples.tsv. R and its packages run as a program of their own.
#
#   Rscript export_set.R bladderbatch|all|golub|miniacc FOLDER
arguments <- commandArgs(trailingOnly = TRUE)
name <- arguments[1]
folder <- arguments[2]

need <- function(package) {
  if (!suppressMessages(requireNamespace(package, quietly = TRUE))) {
    cat("missing:", package, "\n", file = stderr())
    quit(status = 3)
  }
  suppressMessages(library(package, character.only = TRUE))
}

leave <- function(values, samples) {
  writeBin(as.double(values), file.path(folder, "values.bin"), size = 8, endian = "little")
  writeLines(rownames(values), file.path(folder, "genes.txt"))
  write.table(samples, file.path(folder, "samples.tsv"), sep = "\t", quote = FALSE, row.names = FALSE, na = "")
}

if (name == "bladderbatch") {
  need("bladderbatch")
  need("Biobase")
  data(bladderdata)
  of <- pData(bladderEset)
  values <- exprs(bladderEset)
  leave(values, data.frame(sample_id = colnames(values), cancer = of$cancer, batch = of$batch))
} else if (name == "all") {
  need("ALL")
  need("Biobase")
  data(ALL)
  kept <- ALL$mol.biol %in% c("BCR/ABL", "NEG") & substr(as.character(ALL$BT), 1, 1) == "B"
  of <- pData(ALL)[kept, ]
  values <- exprs(ALL)[, kept]
  leave(values, data.frame(
    sample_id = colnames(values), mol_biol = as.character(of$mol.biol), sex = as.character(of$sex), age = of$age,
    stage = as.character(of$BT), relapse = ifelse(of$relapse, "yes", "no")
  ))
} else if (name == "golub") {
  need("multtest")
  data(golub)
  rownames(golub) <- golub.gnames[, 3]
  ids <- sprintf("golub-%02d", seq_len(ncol(golub)))
  leave(golub, data.frame(sample_id = ids, leukaemia = ifelse(golub.cl == 1, "AML", "ALL")))
} else if (name == "miniacc") {
  need("MultiAssayExperiment")
  data(miniACC)
  values <- assay(miniACC[["RNASeq2GeneNorm"]])
  of <- as.data.frame(colData(miniACC))[substr(colnames(values), 1, 12), ]
  died <- as.integer(of$vital_status)
  leave(log2(values + 1), data.frame(
    sample_id = colnames(values), patient_id = rownames(of), subtype = as.character(of$C1A.C1B),
    sex = of$gender, age = of$years_to_birth, stage = of$pathologic_stage,
    time = ifelse(died == 1, of$days_to_death, of$days_to_last_followup), died = died
  ))
} else {
  stop("no such set")
}
