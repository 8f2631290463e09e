# One penalised logistic or Poisson fit by glmnet, converged tightly.
# Arguments: x.bin y.bin rows family alpha lambdas.bin out.bin; the files hold doubles, x column by column.
library(glmnet)
arguments <- commandArgs(trailingOnly = TRUE)
doubles <- function(file) readBin(file, "double", file.size(file) / 8)
y <- doubles(arguments[2])
x <- matrix(doubles(arguments[1]), nrow = as.integer(arguments[3]))
fit <- glmnet(x, y, family = arguments[4], alpha = as.numeric(arguments[5]), lambda = doubles(arguments[6]),
              standardize = TRUE, thresh = 1e-16, maxit = 1e8)
writeBin(as.vector(rbind(fit$a0, as.matrix(fit$beta))), arguments[7])
