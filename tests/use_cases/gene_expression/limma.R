# What limma and edgeR say of one matrix.
# Arguments: log or counts, and a folder with
#   values.bin   doubles, gene after gene within sample after sample
#   samples.tsv  columns group and age and site, a row for each sample; levels in the order A, B, C
# Writes into the folder, with 17 significant digits, one table for each case.
#   log:    site (group and site), age (group and age), trend (the same, the prior variance following the mean)
#   counts: kept, factors, voom (group and site), voom_age (group and age, upper-quartile factors)
suppressPackageStartupMessages({library(limma); library(edgeR)})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[2]
path <- function(name) file.path(folder, name)
samples <- read.delim(path("samples.tsv"), stringsAsFactors = FALSE)
values <- readBin(path("values.bin"), "double", file.size(path("values.bin")) / 8)
values <- matrix(values, ncol = nrow(samples))
rownames(values) <- seq_len(nrow(values)) - 1
samples$group <- factor(samples$group)
samples$site <- factor(samples$site)

digits17 <- function(x) trimws(formatC(x, digits = 17, format = "g"))
table17 <- function(frame, name) {
  shown <- lapply(frame, function(column) if (is.integer(column)) column else digits17(column))
  write.table(as.data.frame(shown), path(paste0(name, ".tsv")), sep = "\t", quote = FALSE, row.names = FALSE)
}
report <- function(fit, coefficient, name) {
  t <- fit$t[, coefficient]
  p <- fit$p.value[, coefficient]
  table17(list(
    gene = as.integer(rownames(fit$t)), log_fc = fit$coefficients[, coefficient], t = t, p_value = p,
    log10_p = (pt(-abs(t), fit$df.total, log.p = TRUE) + log(2)) / log(10), adjusted_p = p.adjust(p, "BH"),
    average = fit$Amean, sigma = fit$sigma, prior_variance = rep_len(fit$s2.prior, length(t))
  ), name)
  table17(list(prior_df = fit$df.prior, total_df = fit$df.total[1], residual_df = fit$df.residual[1]),
          paste0(name, "_all"))
}
from <- function(reference) relevel(samples$group, reference)

if (arguments[1] == "log") {
  with_site <- model.matrix(~0 + group + site, samples)
  difference <- makeContrasts(groupB - groupA, levels = with_site)
  report(eBayes(contrasts.fit(lmFit(values, with_site), difference)), 1, "site")
  if (length(unique(samples$age)) > 1) {
    with_age <- model.matrix(~group + age, samples)
    fit <- lmFit(values, with_age)
    report(eBayes(fit), "groupB", "age")
    report(eBayes(fit, trend = TRUE), "age", "trend")
  }
} else {
  group <- samples$group
  kept <- filterByExpr(values, group = group)
  table17(list(gene = as.integer(which(kept) - 1)), "kept")
  y <- DGEList(values, group = group)[kept, , keep.lib.sizes = FALSE]
  pooled <- cbind(y$counts, rowSums(y$counts))
  tmm <- calcNormFactors(pooled, refColumn = ncol(pooled), method = "TMM")[seq_len(nrow(samples))]
  tmm <- tmm / exp(mean(log(tmm)))
  quartile <- calcNormFactors(y$counts, method = "upperquartile")
  table17(list(tmm = tmm, upper_quartile = unname(quartile), size = unname(y$samples$lib.size)), "factors")
  y$samples$norm.factors <- tmm
  # voom's weights make contrasts.fit approximate: B is the reference, so that C - B is a coefficient
  with_site <- model.matrix(~group + site, data.frame(group = from("B"), site = samples$site))
  report(eBayes(lmFit(voom(y, with_site), with_site)), "groupC", "voom")
  y$samples$norm.factors <- quartile
  with_age <- model.matrix(~group + age, samples)
  report(eBayes(lmFit(voom(y, with_age), with_age)), "groupB", "voom_age")
}
