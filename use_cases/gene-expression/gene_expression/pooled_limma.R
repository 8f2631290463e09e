# limma (and edgeR for counts) on the pooled samples, as `compare` wants it. R runs as a program of its own.
#
#   Rscript pooled_limma.R FOLDER METHOD SCALING FILTER     limma|limma-trend|voom, none|upper-quartile|tmm, yes|no
#
# FOLDER holds values.bin (float64, genes within samples), design.bin (n x q by column), weights.bin (contrasts, q x k
# by column), sizes.txt (genes, samples, q, k) and, for the filter, group.txt. Written are kept.bin (places of the genes,
# from 1), tests.bin (for each contrast logFC, AveExpr, t, log10 p, adjusted p, gene by gene) and facts.txt (prior
# degrees of freedom, seconds).
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
method <- arguments[2]
counted <- arguments[3] != "-"
for (package in c("limma", if (counted) "edgeR")) {
  if (!suppressMessages(requireNamespace(package, quietly = TRUE))) {
    quit(status = 3)
  }
  suppressMessages(library(package, character.only = TRUE))
}
path <- function(name) file.path(folder, name)
doubles <- function(name) readBin(path(name), "double", n = file.size(path(name)) / 8, size = 8, endian = "little")
size <- scan(path("sizes.txt"), quiet = TRUE)
values <- matrix(doubles("values.bin"), nrow = size[1])
design <- matrix(doubles("design.bin"), nrow = size[2])
colnames(design) <- paste0("x", seq_len(size[3]))
weights <- matrix(doubles("weights.bin"), nrow = size[3])
rownames(weights) <- colnames(design)
kept <- seq_len(size[1])

started <- proc.time()[["elapsed"]]
if (counted) {
  rownames(values) <- kept
  y <- DGEList(values)
  if (arguments[4] == "yes") {
    group <- readLines(path("group.txt"))
    kept <- which(filterByExpr(values, group = factor(group)))
  } else {
    kept <- which(rowSums(values) > 0)
  }
  y <- y[kept, , keep.lib.sizes = FALSE]
  if (arguments[3] == "upper-quartile") {
    y <- calcNormFactors(y, method = "upperquartile")
  } else if (arguments[3] == "tmm") {
    # the reference is the pooled profile, which no sample's counts can be read from
    pooled <- cbind(y$counts, rowSums(y$counts))
    factors <- calcNormFactors(pooled, refColumn = ncol(pooled), method = "TMM")[seq_len(size[2])]
    y$samples$norm.factors <- factors / exp(mean(log(factors)))
  }
  values <- if (method == "voom") voom(y, design) else cpm(y, log = TRUE, prior.count = 0.5)
  if (method != "voom") {
    sizes <- y$samples$lib.size * y$samples$norm.factors
    values <- t(log2((t(y$counts) + 0.5) / (sizes + 1) * 1e6))
  }
}
fit <- lmFit(values, design)
single <- all(colSums(weights != 0) == 1 & colSums(weights == 1) == 1)
if (single) {
  at <- apply(weights, 2, which.max)
  fit <- eBayes(fit, trend = method == "limma-trend")
  fit <- list(coefficients = fit$coefficients[, at, drop = FALSE], t = fit$t[, at, drop = FALSE],
              Amean = fit$Amean, df.total = fit$df.total, df.prior = fit$df.prior)
} else {
  fit <- eBayes(contrasts.fit(fit, weights), trend = method == "limma-trend")
}
seconds <- proc.time()[["elapsed"]] - started

found <- NULL
for (place in seq_len(size[4])) {
  log10p <- (pt(-abs(fit$t[, place]), fit$df.total, log.p = TRUE) + log(2)) / log(10)
  found <- c(found, fit$coefficients[, place], fit$Amean, fit$t[, place], log10p, p.adjust(10^log10p, "BH"))
}
writeBin(as.double(found), path("tests.bin"), size = 8, endian = "little")
writeBin(as.double(kept), path("kept.bin"), size = 8, endian = "little")
writeLines(format(c(fit$df.prior[1], seconds), digits = 17), path("facts.txt"))
