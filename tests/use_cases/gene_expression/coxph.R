# Cox regressions by coxph of R's survival, ties by Breslow and by Efron, with 17 significant digits.
# Arguments: the table to write, and the data: a file with time, event and the columns, which is written from R's
# rotterdam if there is none.
suppressPackageStartupMessages(library(survival))
arguments <- commandArgs(trailingOnly = TRUE)
if (!file.exists(arguments[2])) {
  columns <- c("age", "meno", "grade", "nodes", "pgr", "er", "hormon", "chemo")
  data <- data.frame(time = rotterdam$dtime, event = rotterdam$death, rotterdam[, columns],
                     large = as.integer(rotterdam$size != "<=20"))
  write.table(data, arguments[2], sep = "\t", quote = FALSE, row.names = FALSE)
}
data <- read.delim(arguments[2])
formula <- reformulate(setdiff(names(data), c("time", "event")), "Surv(time, event)")
digits17 <- function(x) formatC(x, digits = 17, format = "g")
rows <- lapply(c("breslow", "efron"), function(ties) {
  fit <- coxph(formula, data, ties = ties, control = coxph.control(eps = 1e-12, toler.chol = 1e-13, iter.max = 100))
  data.frame(ties = ties, column = names(coef(fit)), estimate = digits17(coef(fit)),
             standard_error = digits17(sqrt(diag(vcov(fit)))), loglik = digits17(fit$loglik[2]))
})
write.table(do.call(rbind, rows), arguments[1], sep = "\t", quote = FALSE, row.names = FALSE)
