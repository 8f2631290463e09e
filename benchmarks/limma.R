# Seconds that R takes for what benchmarks/limma.py does over sites, once the data are in memory.
# Arguments: limma or voom, folder with values.bin (genes within samples) and samples.tsv, how many runs.
# Prints the seconds of each run, and writes log10 p of the contrast to log10_p.bin.
suppressPackageStartupMessages({library(limma); library(edgeR)})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[2]
samples <- read.delim(file.path(folder, "samples.tsv"), stringsAsFactors = TRUE)
file <- file.path(folder, "values.bin")
values <- matrix(readBin(file, "double", file.size(file) / 8), ncol = nrow(samples))
design <- model.matrix(~group + age + factor(site), samples)
for (run in seq_len(as.integer(arguments[3]))) {
  seconds <- system.time({
    if (arguments[1] == "limma") {
      fit <- eBayes(lmFit(values, design))
    } else {
      y <- DGEList(values)
      y <- y[filterByExpr(y, group = samples$group), , keep.lib.sizes = FALSE]
      y <- calcNormFactors(y, method = "upperquartile")
      fit <- eBayes(lmFit(voom(y, design), design))
    }
    p <- p.adjust(fit$p.value[, "groupB"], "BH")
  })[["elapsed"]]
  cat(seconds, "\n")
}
log10_p <- (pt(-abs(fit$t[, "groupB"]), fit$df.total, log.p = TRUE) + log(2)) / log(10)
writeBin(unname(log10_p), file.path(folder, "log10_p.bin"))
