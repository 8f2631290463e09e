# bladderbatch as this folder's tests read it: values.bin and samples.tsv in a folder.
# Cancer is B, normal tissue A, biopsy C; the batch is the site.
suppressPackageStartupMessages(library(bladderbatch))
folder <- commandArgs(trailingOnly = TRUE)[1]
data(bladderdata)
sheet <- pData(bladderEset)
writeBin(as.vector(exprs(bladderEset)), file.path(folder, "values.bin"))
group <- c(Normal = "A", Cancer = "B", Biopsy = "C")[as.character(sheet$cancer)]
samples <- data.frame(group = unname(group), age = 0, site = as.integer(as.character(sheet$batch)))
write.table(samples, file.path(folder, "samples.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
