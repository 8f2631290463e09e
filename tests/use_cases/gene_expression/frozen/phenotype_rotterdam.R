# Cox regressions of R's survival on its data set rotterdam, with 17 significant digits.
# Arguments: files to write, the data and the fits (columns ties, column, estimate, error).
suppressPackageStartupMessages(library(survival))
arguments <- commandArgs(trailingOnly = TRUE)
columns <- c("age", "meno", "grade", "nodes", "pgr", "er", "hormon", "chemo")
write.csv(rotterdam[, c("dtime", "death", columns)], arguments[1], row.names = FALSE)
exact <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)
fits <- lapply(c("breslow", "efron"), function(ties) {
  fit <- coxph(reformulate(columns, "Surv(dtime, death)"), rotterdam, ties = ties, control = exact)
  data.frame(ties = ties, column = columns, estimate = formatC(coef(fit), digits = 17, format = "g"),
             error = formatC(sqrt(diag(vcov(fit))), digits = 17, format = "g"))
})
write.csv(do.call(rbind, fits), arguments[2], row.names = FALSE, quote = FALSE)
