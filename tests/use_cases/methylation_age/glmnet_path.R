# One elastic net solution by glmnet, converged tightly. Arguments: z.csv y.csv lambda alpha out.csv
# The columns come standardised; glmnet fits them as they are.
library(glmnet)
arguments <- commandArgs(trailingOnly = TRUE)
z <- as.matrix(read.csv(arguments[1], header = FALSE))
y <- scan(arguments[2], quiet = TRUE)
lambda <- as.numeric(arguments[3])
# A falling path of penalties gives warm starts; the last one is the one asked for.
path <- exp(seq(log(50 * lambda), log(lambda), length.out = 30))
fit <- glmnet(z, y, alpha = as.numeric(arguments[4]), lambda = path, standardize = FALSE, intercept = FALSE,
              thresh = 1e-20, maxit = 1e8)
coefficients <- as.matrix(fit$beta)[, length(path)]
write.table(format(coefficients, digits = 17), arguments[5], quote = FALSE, row.names = FALSE, col.names = FALSE)
